//! The budget against owners of all kinds.

use proptest::prelude::*;

use super::*;

const HALF: Share = Share(1, 2);
const ALL: Share = Share(1, 1);

fn domain(name: &str) -> Domain {
    Domain::parse(name).unwrap()
}

fn peer(name: &str) -> Owner {
    Owner::peer(&domain(name))
}

/// Takes as long as it may.
fn fill(account: &Account) -> Charge {
    let mut all = account.force(0);
    for step in [1_000_000, 10_000, 100, 1] {
        while all.resize(all.amount + step) {}
    }
    all
}

#[test]
fn one_owner_gets_much_and_something_is_left_for_the_next() {
    let budget = Budget::new(3_000_000, HALF, ALL);
    let component = fill(&budget.account(Owner::Component(domain("a.test"))));
    assert!((1_100_000..1_150_000).contains(&component.amount));
    // And so on, each time less, and never nothing.
    let other = fill(&budget.account(Owner::Component(domain("b.test"))));
    assert!((500_000..600_000).contains(&other.amount));
    drop(component);
    assert_eq!(budget.used(), other.amount);
    let network = fill(&budget.account(Owner::at([192, 0, 2, 7].into())));
    assert!((500_000..600_000).contains(&network.amount));
}

#[test]
fn the_subdomains_of_one_registration_have_one_share() {
    let budget = Budget::new(3_000_000, HALF, ALL);
    let mut held = Vec::new();
    for n in 0..200 {
        held.push(fill(&budget.account(peer(&format!("n{n}.evil.test")))));
    }
    let evil: usize = held.iter().map(|charge| charge.amount).sum();
    assert_eq!(evil, budget.used());
    assert!(evil <= 810_000, "{evil}");
    assert!(fill(&budget.account(peer("good.test"))).amount >= 400_000);
}

#[test]
fn many_registrations_do_not_use_everything_up() {
    for (evil, left) in [(10, 1_000_000), (100, 15_000), (1000, 150)] {
        let budget = Budget::new(100_000_000, HALF, ALL);
        let held: Vec<Charge> = (0..evil)
            .map(|n| fill(&budget.account(peer(&format!("evil{n}.test")))))
            .collect();
        let good = fill(&budget.account(peer("good.test"))).amount;
        assert!(good > left, "{evil}: {good}");
        drop(held);
        assert_eq!(budget.used(), 0);
    }
}

#[test]
fn an_account_is_one_as_long_as_anybody_has_it_and_forgotten_after() {
    let budget = Budget::new(3_000_000, HALF, ALL);
    let charge = budget.account(peer("a.test")).take(100_000).unwrap();
    let again = budget.account(peer("a.test"));
    assert_eq!(again.node.used.load(Ordering::Acquire), 100_000);
    drop(charge);
    assert_eq!(again.node.used.load(Ordering::Acquire), 0);
    for n in 0..10_000 {
        budget.account(peer(&format!("n{n}.test")));
    }
    let nodes = budget.0.nodes.lock().unwrap();
    assert!(nodes.known.len() <= SWEEP_FROM, "{}", nodes.known.len());
}

#[test]
fn what_is_there_already_counts_even_where_it_may_not_be() {
    let budget = Budget::new(1000, HALF, ALL);
    let account = budget.account(peer("a.test"));
    let charge = account.force(5000);
    assert_eq!(budget.used(), 5000);
    assert!(account.take(1).is_none());
    assert!(charge.may_be(5000) && !charge.may_be(5001));
    budget.set_total(100_000);
    assert!(charge.may_be(5001));
}

#[test]
fn a_charge_passes_to_another_owner_who_may_have_it() {
    let budget = Budget::new(10_000, HALF, ALL);
    let (a, b) = (
        budget.account(Owner::at([192, 0, 2, 7].into())),
        budget.account(peer("b.test")),
    );
    let mut charge = a.take(1000).unwrap();
    assert!(charge.pass_to(&b));
    assert!(a.node.used.load(Ordering::Acquire) == 0 && charge.account().is_same(&b));
    let _full = fill(&b);
    let mut more = a.force(1000);
    assert!(!more.pass_to(&b));
    assert!(more.account().is_same(&a));
}

#[test]
fn small_numbers_are_rounded_up_so_that_one_place_is_a_place() {
    let places = Budget::new(1, HALF, Share(4, 1));
    let one = places.account(peer("a.b.test")).take(1).unwrap();
    assert!(places.account(peer("c.test")).take(1).is_none());
    drop(one);
    let component = places.account(Owner::Component(domain("a.test")));
    let _one = component.take(1).unwrap();
    assert!(component.take(1).is_none());
}

#[test]
fn a_registration_is_what_somebody_had_to_buy() {
    for (name, registered) in [
        ("test", "test"),
        ("evil.test", "evil.test"),
        ("a.b.evil.test", "evil.test"),
        ("a.example.co.uk", "example.co.uk"),
        ("example.co.uk", "example.co.uk"),
        ("co.uk", "co.uk"),
        ("conference.example.de", "example.de"),
        ("192.0.2.7", "192.0.2.7"),
        ("[2001:db8::1]", "[2001:db8::1]"),
        ("x.faß.test", "xn--fa-hia.test"),
    ] {
        assert_eq!(registration(&domain(name)), registered, "{name}");
    }
}

proptest! {
    /// In any order of owners that come, take, change and go, no more is taken than there is, what is counted is what
    /// is held, and in the end it is nothing.
    #[test]
    fn what_is_counted_is_what_is_held(
        steps in prop::collection::vec((0_usize..6, 0_usize..8, 0_usize..2_000), 1..200)
    ) {
        let budget = Budget::new(10_000, HALF, ALL);
        let owners = [
            peer("a.evil.test"), peer("b.evil.test"), peer("good.test"),
            Owner::Component(domain("c.test")), Owner::at([192, 0, 2, 7].into()), peer("evil.test"),
        ];
        let mut held: Vec<Charge> = Vec::new();
        for (who, what, amount) in steps {
            let account = budget.account(owners[who].clone());
            match what {
                0..=3 => held.extend(account.take(amount)),
                4 => { held.pop(); }
                5 => { held.last_mut().map(|charge| charge.resize(amount)); }
                6 => { held.first_mut().map(|charge| charge.pass_to(&account)); }
                _ => { if !held.is_empty() { held.swap_remove(0); } }
            }
            let sum: usize = held.iter().map(|charge| charge.amount).sum();
            prop_assert_eq!(budget.used(), sum);
            prop_assert!(sum <= 10_000);
        }
        drop(held);
        prop_assert_eq!(budget.used(), 0);
    }
}
