//! Names that were given up for the field's own words, and names that stand for one thing only.

use super::{Fault, rust, tree::Tree};

/// Identifiers that are not to come back, and what is said instead.
const GIVEN_UP: &[(&str, &str)] = &[
    ("Asking", "ServerStart, or what it asks"),
    ("AwaitCalculation", "AwaitSaslStep"),
    ("AwaitComputation", "AwaitSaslStep"),
    ("Bed", "Fixtures"),
    ("Bystander", "BackgroundTraffic"),
    ("Calculate", "RunSasl"),
    ("Calculated", "SaslStepDone"),
    ("Calculation", "OutboundSaslStep"),
    ("Called", "Direction::Outgoing"),
    ("Calling", "Direction::Incoming"),
    ("Computation", "InboundSaslStep"),
    ("Compute", "RunSasl"),
    ("Computed", "SaslStepDone"),
    ("Counterpart", "PeerKind"),
    ("Desk", "SaslHost"),
    ("Dice", "OsRandom"),
    ("Door", "ListenerKind"),
    ("Encounter", "Delivery"),
    ("GOOD", "STABLE_AFTER"),
    ("Guests", "ConnectionLimit"),
    ("HEAR_OUT", "MAX_DISCARD"),
    ("House", "Snapshot"),
    ("Hub", "RelayServer"),
    ("Journal", "CapturedLog"),
    ("LAST_WORDS", "CLOSE_TIMEOUT"),
    ("MANY", "MAX_… or SWEEP_FROM"),
    ("MOST", "MAX_…"),
    ("Manner", "Behaviour"),
    ("Means", "Shared"),
    ("Meter", "Bucket"),
    ("Neighbour", "FakePeer"),
    ("Onlooker", "Observer"),
    ("PATIENCE", "…_TIMEOUT"),
    ("Paces", "RateLimiter"),
    ("Party", "ComponentClient"),
    ("Place", "Target"),
    ("SECOND_LOOK", "RECHECK_AFTER"),
    ("SOON", "TIMEOUT, or what it is the time of"),
    ("Scribe", "Recorder"),
    ("Sight", "Observation"),
    ("Trouble", "TlsWarning, or the error it is"),
    ("Unreached", "ConnectError"),
    ("Which", "Direction"),
    ("bystander", "background_traffic"),
    ("guests", "admission, connection_limit"),
    ("house", "snapshot"),
    ("is_rested", "is_full"),
    ("limits_for_strangers", "limits_before_authentication"),
    ("neighbour", "fake_peer"),
    ("onlooker", "observer"),
    ("witness", "evidence"),
];

/// Files that are not to come back; the module is named like what is in it.
const FILES: &[(&str, &str)] = &[
    ("asking", "server"),
    ("attacked", "attack_setup"),
    ("bed", "fixtures"),
    ("bystander", "background_traffic"),
    ("counterpart", "peer_kind"),
    ("desk", "sasl_host"),
    ("encounters", "deliveries"),
    ("guests", "admission"),
    ("house", "snapshot or server"),
    ("hub", "relay_server"),
    ("journal", "captured_log"),
    ("kept", "cache"),
    ("means", "shared"),
    ("neighbour", "fake_peer"),
    ("onlooker", "observer"),
    ("ours", "s2sd_pair"),
    ("pace", "rate_limit"),
    ("party", "component_client"),
    ("scribe", "recorder"),
    ("witness", "evidence"),
];

/// Types of which there was one in many modules: the name is for one of them at most.
const ONE_OF_A_NAME: &[&str] = &[
    "Answer",
    "Attempt",
    "Findings",
    "Identity",
    "Kept",
    "Limits",
    "Outcome",
    "Published",
    "Reply",
    "Rule",
    "Trust",
    "Verdict",
];

/// This list.
const HERE: &str = "xtask/src/tidy/names.rs";

pub(super) fn check(tree: &Tree) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut defined: Vec<Option<String>> = vec![None; ONE_OF_A_NAME.len()];
    for (path, text) in tree.ending(".rs").filter(|(path, _)| *path != HERE) {
        for (name, better) in FILES {
            if path
                .split('/')
                .any(|part| part.trim_end_matches(".rs") == *name)
            {
                faults.push(Fault::new(path, 1, format!("not `{name}`: {better}")));
            }
        }
        let code = rust::code(text);
        for (name, better) in GIVEN_UP {
            for at in rust::words(&code, name) {
                faults.push(Fault::new(
                    path,
                    rust::line_of(&code, at),
                    format!("not `{name}`: {better}"),
                ));
            }
        }
        for (name, first) in ONE_OF_A_NAME.iter().zip(&mut defined) {
            for at in rust::words(&code, name).filter(|at| is_defined(&code, *at)) {
                let line = rust::line_of(&code, at);
                match first {
                    None => *first = Some(format!("{path}:{line}")),
                    Some(first) => faults.push(Fault::new(
                        path,
                        line,
                        format!("another `{name}` besides {first}: one name, one thing"),
                    )),
                }
            }
        }
    }
    faults
}

/// Whether a type gets its name there. A type in the body of a trait or an implementation is part of it.
fn is_defined(code: &str, at: usize) -> bool {
    let before = code.get(..at).unwrap_or_default();
    let line = before.rsplit('\n').next().unwrap_or_default();
    let mut words = line.split_whitespace().rev();
    let keyword = words.next();
    matches!(keyword, Some("struct" | "enum" | "trait" | "union"))
        || keyword == Some("type") && !line.starts_with(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_all<const N: usize>(files: [(&str, &str); N], want: &[&str]) {
        let found: Vec<String> = check(&Tree::from(files))
            .iter()
            .map(Fault::to_string)
            .collect();
        assert_eq!(found, want);
    }

    #[test]
    fn a_name_that_was_given_up_is_found_in_code_and_nowhere_else() {
        check_all([("a.rs", "// a House\nlet a = \"House\";")], &[]);
        check_all([("a.rs", "struct Houses; fn in_house() {}")], &[]);
        check_all(
            [("a.rs", "\nfn f(house: &House) {}")],
            &[
                "a.rs:2: not `House`: Snapshot",
                "a.rs:2: not `house`: snapshot",
            ],
        );
        check_all([(HERE, "const A: House = 1;")], &[]);
    }

    #[test]
    fn a_file_whose_name_was_given_up_is_found() {
        check_all(
            [("s2sd/src/guests/mod.rs", "")],
            &["s2sd/src/guests/mod.rs:1: not `guests`: admission"],
        );
        check_all([("s2sd/src/packet.rs", "")], &[]);
    }

    #[test]
    fn a_second_type_of_a_name_is_found() {
        check_all(
            [
                ("a.rs", "pub struct Limits {}\nfn f() -> Limits {}"),
                ("b.rs", "use a::Limits;\n\npub(crate) enum Limits {}"),
                ("c.rs", "impl A for B {\n    type Outcome = ();\n}"),
                ("d.rs", "enum Outcome {}"),
            ],
            &["b.rs:3: another `Limits` besides a.rs:1: one name, one thing"],
        );
    }
}
