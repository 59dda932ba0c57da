//! The two windows of XEP-0198 against each other: with losses, cuts, settlement in any order, and counts that are wrong.
#![allow(clippy::unwrap_used)]

use std::collections::{HashSet, VecDeque};

use proptest::prelude::*;
use xmpp_stream::stream_management::{
    AckError, Receipt, ReceiveLimits, ReceiveWindow, Received, SendLimits, SendWindow, WindowFull,
};

const SIZE: usize = 10;

/// What is on its way to the receiver.
#[derive(Debug)]
enum Sent {
    Stanza(u32),
    Request,
}

/// A sender, a receiver, and what is on its way between them.
struct Streams {
    sender: SendWindow<u32>,
    receiver: ReceiveWindow,
    there: VecDeque<Sent>,
    back: VecDeque<u32>,
    send_limits: SendLimits,
    receive_limits: ReceiveLimits,
    next: u32,
    /// What the sender may forget, in order.
    acknowledged: Vec<u32>,
    /// How many of these were looked at.
    checked: usize,
    /// What the receiver took as new, in order.
    taken: Vec<u32>,
    unsettled: Vec<(u32, Receipt)>,
    settled: HashSet<u32>,
    /// What may be there twice: streams ended without resumption.
    unresumed: usize,
}

impl Streams {
    fn new(start: u64, send_limits: SendLimits, receive_limits: ReceiveLimits) -> Self {
        Self {
            sender: SendWindow::starting_at(send_limits, start),
            receiver: ReceiveWindow::starting_at(receive_limits, start),
            there: VecDeque::new(),
            back: VecDeque::new(),
            send_limits,
            receive_limits,
            next: 0,
            acknowledged: Vec::new(),
            checked: 0,
            taken: Vec::new(),
            unsettled: Vec::new(),
            settled: HashSet::new(),
            unresumed: 0,
        }
    }

    fn send(&mut self) {
        let had_room = self.sender.has_room(SIZE);
        match self.sender.push(self.next, SIZE) {
            Ok(()) => {
                assert!(had_room);
                self.there.push_back(Sent::Stanza(self.next));
                self.next += 1;
            }
            Err(WindowFull(item)) => {
                assert!(!had_room);
                assert_eq!(item, self.next);
            }
        }
        assert!(self.sender.len() <= self.send_limits.stanzas() as usize);
        assert!(self.sender.bytes() <= self.send_limits.bytes().max(SIZE));
        if self.sender.wants_request() {
            self.request();
        }
    }

    fn request(&mut self) {
        self.sender.requested();
        assert!(!self.sender.wants_request());
        self.there.push_back(Sent::Request);
    }

    fn deliver(&mut self) {
        match self.there.pop_front() {
            Some(Sent::Stanza(number)) => match self.receiver.receive() {
                Ok(Received::New(receipt)) => {
                    self.taken.push(number);
                    self.unsettled.push((number, receipt));
                }
                Ok(Received::Repeated) => {
                    assert!(
                        self.taken.contains(&number),
                        "{number} was dropped and is lost"
                    );
                }
                Err(_) => {
                    // It is not read.
                    assert!(self.receiver.is_full());
                    self.there.push_front(Sent::Stanza(number));
                }
            },
            Some(Sent::Request) => self.back.push_back(self.receiver.ack()),
            None => {}
        }
        assert!(self.receiver.unsettled() <= self.receive_limits.unsettled() as usize);
    }

    fn settle(&mut self, which: usize) {
        if self.unsettled.is_empty() {
            return;
        }
        let (number, receipt) = self.unsettled.swap_remove(which % self.unsettled.len());
        self.settled.insert(number);
        self.receiver.settle(receipt);
        if self.receiver.wants_ack() {
            self.back.push_back(self.receiver.ack());
            assert!(!self.receiver.wants_ack());
        }
    }

    fn hear(&mut self) {
        if let Some(h) = self.back.pop_front() {
            let before = self.acknowledged.len();
            let count = self.sender.acknowledge(h, &mut self.acknowledged).unwrap();
            assert_eq!(self.acknowledged.len(), before + count);
            self.nothing_was_acknowledged_too_early();
        }
    }

    fn nothing_was_acknowledged_too_early(&mut self) {
        for number in &self.acknowledged[self.checked..] {
            assert!(
                self.settled.contains(number),
                "{number} was acknowledged and is not settled"
            );
        }
        self.checked = self.acknowledged.len();
    }

    /// The connection is cut: what is on its way is lost. The stream is resumed.
    fn cut(&mut self) {
        self.there.clear();
        self.back.clear();
        let h = self.receiver.resume();
        self.sender.resume(h, &mut self.acknowledged).unwrap();
        self.nothing_was_acknowledged_too_early();
        let again: Vec<_> = self.sender.unacknowledged().copied().collect();
        self.there.extend(again.into_iter().map(Sent::Stanza));
    }

    /// The connection is cut, and the receiver has forgotten the stream, but not what it took.
    fn forget(&mut self, says_h: bool) {
        self.there.clear();
        self.back.clear();
        self.unresumed += 1;
        if says_h {
            let h = self.receiver.resume();
            self.sender.acknowledge(h, &mut self.acknowledged).unwrap();
            self.nothing_was_acknowledged_too_early();
        }
        let fresh = SendWindow::new(self.send_limits);
        let old = std::mem::replace(&mut self.sender, fresh);
        self.receiver = ReceiveWindow::new(self.receive_limits);
        // It is delivered all the same; its receipts go nowhere.
        self.settled
            .extend(self.unsettled.drain(..).map(|(number, _)| number));
        for number in old.into_unacknowledged() {
            self.sender.push(number, SIZE).unwrap();
            self.there.push_back(Sent::Stanza(number));
        }
    }

    /// Until nothing is left to do.
    fn finish(&mut self) {
        for round in 0.. {
            if self.sender.is_empty() {
                break;
            }
            assert!(round < 100, "it does not come to an end");
            self.request();
            for _ in 0..self.there.len() {
                self.deliver();
                self.settle(0);
            }
            while !self.unsettled.is_empty() {
                self.settle(0);
            }
            self.request();
            self.deliver();
            while !self.back.is_empty() {
                self.hear();
            }
        }
        let all: Vec<_> = (0..self.next).collect();
        assert_eq!(self.acknowledged, all, "everything, once, in order");
        assert_eq!((self.sender.bytes(), self.receiver.unsettled()), (0, 0));
        if self.unresumed == 0 {
            assert_eq!(self.taken, all, "nothing is lost, doubled or out of order");
            assert_eq!(self.sender.sent(), self.receiver.handled());
        } else {
            let mut once = self.taken.clone();
            once.sort_unstable();
            once.dedup();
            assert_eq!(once, all, "nothing is lost");
        }
    }

    fn perform(&mut self, step: &Step) {
        match *step {
            Step::Send(count) => (0..count).for_each(|_| self.send()),
            Step::Deliver(count) => (0..count).for_each(|_| self.deliver()),
            Step::Settle(which) => self.settle(which),
            Step::Hear => self.hear(),
            Step::Request => self.request(),
            Step::Ack => self.back.push_back(self.receiver.ack()),
            Step::Cut => self.cut(),
            Step::Forget(says_h) => self.forget(says_h),
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Send(usize),
    Deliver(usize),
    Settle(usize),
    Hear,
    Request,
    Ack,
    Cut,
    Forget(bool),
}

fn any_step(forgets: bool) -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..8_usize).prop_map(Step::Send),
        6 => (1..8_usize).prop_map(Step::Deliver),
        9 => any::<usize>().prop_map(Step::Settle),
        4 => Just(Step::Hear),
        1 => Just(Step::Request),
        2 => Just(Step::Ack),
        1 => Just(Step::Cut),
        u32::from(forgets) => any::<bool>().prop_map(Step::Forget),
    ]
}

/// Near to where `h` goes back to zero, or not.
fn any_start() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        (0..40_u64).prop_map(|before| (1 << 32) - before),
        (0..40_u64).prop_map(|before| (5 << 32) - before),
        Just((1 << 31) - 3),
    ]
}

fn any_limits() -> impl Strategy<Value = (SendLimits, ReceiveLimits)> {
    (1..30_u32, 0..40_usize, 1..9_u32, 1..30_u32, 1..9_u32).prop_map(
        |(stanzas, bytes, request, unsettled, ack)| {
            (
                SendLimits::new(stanzas, bytes * SIZE).with_request_every(request),
                ReceiveLimits::new(unsettled).with_ack_every(ack),
            )
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn through_any_cuts_nothing_is_lost_or_doubled_or_acknowledged_too_early(
        start in any_start(),
        (send, receive) in any_limits(),
        steps in proptest::collection::vec(any_step(false), 0..200),
    ) {
        let mut streams = Streams::new(start, send, receive);
        for step in &steps {
            streams.perform(step);
        }
        streams.finish();
    }

    #[test]
    fn what_a_forgotten_stream_did_not_acknowledge_goes_by_the_next_in_order(
        start in any_start(),
        (send, receive) in any_limits(),
        steps in proptest::collection::vec(any_step(true), 0..200),
    ) {
        let mut streams = Streams::new(start, send, receive);
        for step in &steps {
            streams.perform(step);
        }
        streams.finish();
    }

    #[test]
    fn any_count_acknowledges_what_was_sent_or_is_an_error_that_changes_nothing(
        start in any_start(),
        sent in 0..50_u64,
        acknowledged in 0..50_u64,
        h in prop_oneof![any::<u32>(), (-200..200_i32).prop_map(|h| h as u32)],
        is_relative in any::<bool>(),
    ) {
        let acknowledged = acknowledged.min(sent);
        let mut window = SendWindow::starting_at(SendLimits::new(100, usize::MAX), start);
        for number in 0..sent {
            window.push(number, 1).unwrap();
        }
        let mut out = Vec::new();
        let before = start + acknowledged;
        prop_assert_eq!(window.acknowledge(before as u32, &mut out), Ok(acknowledged as usize));
        let h = if is_relative { h.wrapping_add(before as u32) } else { h };
        // The model: with numbers that do not wrap, is there one that was sent and not acknowledged?
        let fits = (before..=start + sent).find(|count| *count as u32 == h);
        match (window.acknowledge(h, &mut out), fits) {
            (Ok(count), Some(fits)) => {
                prop_assert_eq!(count as u64, fits - before);
                prop_assert_eq!(out, (0..fits - start).collect::<Vec<_>>());
            }
            (Err(error), None) => {
                match error {
                    AckError::TooHigh { h: told, sent: ours } => {
                        prop_assert_eq!((told, ours), (h, (start + sent) as u32));
                    }
                    AckError::WentBack { h: told, acknowledged: ours } => {
                        prop_assert_eq!((told, ours), (h, before as u32));
                        prop_assert!(before > 0);
                    }
                    other => panic!("{other:?}"),
                }
                prop_assert_eq!(window.len() as u64, sent - acknowledged);
                prop_assert_eq!(window.bytes() as u64, sent - acknowledged);
                prop_assert_eq!(window.acknowledged(), before);
                let left: Vec<_> = window.into_unacknowledged().collect();
                prop_assert_eq!(left, (acknowledged..sent).collect::<Vec<_>>());
            }
            (found, wanted) => panic!("{found:?} and not {wanted:?}"),
        }
    }
}

#[test]
fn a_count_too_high_and_one_that_went_back_are_told_apart_also_at_the_wrap() {
    for start in [0, (1 << 32) - 6, (1 << 32) - 5, (7 << 32) - 8] {
        let mut window = SendWindow::starting_at(SendLimits::new(100, 1_000), start);
        for number in 0..8 {
            window.push(number, 1).unwrap();
        }
        let at = |count: u64| (start + count) as u32;
        let mut out = Vec::new();
        window.acknowledge(at(5), &mut out).unwrap();
        let too_high = AckError::TooHigh {
            h: at(9),
            sent: at(8),
        };
        assert_eq!(window.acknowledge(at(9), &mut out), Err(too_high));
        let back = AckError::WentBack {
            h: at(4),
            acknowledged: at(5),
        };
        assert_eq!(window.acknowledge(at(4), &mut out), Err(back));
        assert_eq!(window.acknowledge(at(8), &mut out), Ok(3));
        assert_eq!(out, (0..8).collect::<Vec<_>>());
    }
    // Nothing was ever acknowledged: there is nothing that it could go back to.
    let mut window = SendWindow::<()>::new(SendLimits::new(1, 1));
    let too_high = AckError::TooHigh {
        h: u32::MAX,
        sent: 0,
    };
    assert_eq!(window.acknowledge(u32::MAX, &mut Vec::new()), Err(too_high));
}

#[test]
fn a_stanza_over_the_bound_in_bytes_goes_alone() {
    let mut window = SendWindow::new(SendLimits::new(10, 100));
    window.push("large", 1_000).unwrap();
    assert!(window.wants_request());
    assert_eq!(window.push("small", 1), Err(WindowFull("small")));
    window.acknowledge(1, &mut Vec::new()).unwrap();
    window.push("small", 60).unwrap();
    assert_eq!(window.push("large", 1_000), Err(WindowFull("large")));
    window.push("small", 40).unwrap();
    assert_eq!(window.bytes(), 100);
}

#[test]
fn a_request_is_wanted_after_some_stanzas_or_bytes_and_when_the_window_is_full_and_once() {
    let mut window = SendWindow::new(SendLimits::new(100, 1_000).with_request_every(3));
    for (bytes, wants) in [(1, false), (1, false), (1, true)] {
        window.push((), bytes).unwrap();
        assert_eq!(window.wants_request(), wants);
    }
    window.requested();
    assert!(!window.wants_request());
    // An answer that acknowledges nothing is no reason to ask at once again: it would never end.
    window.acknowledge(0, &mut Vec::new()).unwrap();
    assert!(!window.wants_request());
    window.push((), 249).unwrap();
    assert!(!window.wants_request());
    window.push((), 1).unwrap();
    assert!(window.wants_request(), "a quarter of the bytes");
    // A new connection has not been asked yet.
    window.requested();
    window.resume(2, &mut Vec::new()).unwrap();
    assert!(window.wants_request());

    let mut small = SendWindow::new(SendLimits::new(2, 1_000).with_request_every(9));
    small.push((), 1).unwrap();
    small.push((), 1).unwrap();
    assert!(small.wants_request(), "it is full");
}

#[test]
fn an_ack_is_wanted_after_some_that_are_settled_without_a_gap() {
    let mut window = ReceiveWindow::new(ReceiveLimits::new(10).with_ack_every(2));
    let mut receipts: Vec<Receipt> = (0..4)
        .map(|_| match window.receive().unwrap() {
            Received::New(receipt) => receipt,
            Received::Repeated => panic!("nothing came before"),
        })
        .collect();
    window.settle(receipts.remove(3));
    window.settle(receipts.remove(1));
    assert!(!window.wants_ack() && !window.is_behind());
    window.settle(receipts.remove(0));
    assert!(window.wants_ack());
    assert_eq!(window.ack(), 2);
    assert!(!window.wants_ack() && !window.is_behind());
    window.settle(receipts.remove(0));
    assert_eq!((window.handled(), window.unsettled()), (4, 0));
    assert_eq!(window.ack(), 4);
}

#[test]
fn a_receipt_of_another_window_settles_nothing_beyond_what_was_received() {
    let mut other = ReceiveWindow::starting_at(ReceiveLimits::new(10), 1 << 40);
    let Received::New(foreign) = other.receive().unwrap() else {
        panic!("nothing came before");
    };
    let mut window = ReceiveWindow::new(ReceiveLimits::new(10));
    window.settle(foreign);
    let Received::New(_held) = window.receive().unwrap() else {
        panic!("nothing came before");
    };
    assert_eq!(window.ack(), 0);
}

/// What settles while the peer repeats is acknowledged only when it was repeated: a peer that then leaves it out would
/// count differently.
#[test]
fn after_a_resumption_nothing_is_acknowledged_that_the_peer_has_still_to_repeat() {
    let mut window = ReceiveWindow::new(ReceiveLimits::new(10));
    let receipts: Vec<Receipt> = (0..3)
        .filter_map(|_| match window.receive().unwrap() {
            Received::New(receipt) => Some(receipt),
            Received::Repeated => None,
        })
        .collect();
    assert_eq!(window.resume(), 0);
    receipts
        .into_iter()
        .for_each(|receipt| window.settle(receipt));
    assert_eq!(window.ack(), 0);
    assert_eq!(window.receive().unwrap(), Received::Repeated);
    assert_eq!(window.ack(), 1);
    // The next connection may know all.
    assert_eq!(window.resume(), 3);
    assert!(matches!(window.receive().unwrap(), Received::New(_)));
}
