//! What a test wants a probe to say.

use s2sd::tools::probe::Report;
use s2sd::tools::probe::verdict::{Reason, Side, Works};

/// This decided, it is for that side to change something, and these words are in what is said.
#[track_caller]
pub fn faulty(report: &Report, code: &str, side: Side, words: &[&str]) {
    let text = report.for_people(false);
    assert_eq!(report.verdict.works, Works::No, "{text}");
    assert!(!report.is_well());
    reads(&report.verdict.reason, code, side, words, &text);
    in_json(report, "no", code);
}

/// It works, by this method, and nothing is to be said besides.
#[track_caller]
pub fn works(report: &Report, method: &str) {
    works_but(report, method, &[]);
}

/// It works, by this method, and these are the warnings.
#[track_caller]
pub fn works_but(report: &Report, method: &str, warnings: &[(&str, Side, &[&str])]) {
    let text = report.for_people(false);
    assert_eq!(report.verdict.works, Works::Yes, "{text}");
    assert!(report.is_well());
    let mut attempts = report.findings.places.iter().flat_map(|it| &it.attempts);
    let proved = attempts.find_map(|attempt| attempt.proved());
    assert_eq!(proved, Some(method), "{text}");
    let found = report.verdict.warnings.iter();
    let codes: Vec<_> = found.clone().map(|it| it.code.name()).collect();
    let wanted: Vec<_> = warnings.iter().map(|(code, ..)| *code).collect();
    assert_eq!(codes, wanted, "{text}");
    for (found, (code, side, words)) in found.zip(warnings) {
        reads(found, code, *side, words, &text);
    }
    in_json(report, "yes", "works");
}

#[track_caller]
fn reads(reason: &Reason, code: &str, side: Side, words: &[&str], text: &str) {
    assert_eq!((reason.code.name(), reason.side), (code, side), "{text}");
    let said = [&reason.because, &reason.rule, &reason.change];
    for words in words {
        assert!(
            said.iter().any(|said| said.contains(words)),
            "{words:?} is not in {reason:#?}"
        );
    }
    for said in said {
        assert!(!said.is_empty(), "{reason:#?}");
    }
    // Whatever the other side said, a terminal does not obey it.
    let obeyed = |character: char| character.is_control() && character != '\n';
    assert!(!text.contains(obeyed), "{text:?}");
}

/// What programs read is the same.
#[track_caller]
fn in_json(report: &Report, works: &str, code: &str) {
    match serde_json::from_str::<serde_json::Value>(&report.json()) {
        Ok(json) => {
            assert_eq!(json["verdict"]["works"], works);
            assert_eq!(json["verdict"]["code"], code);
        }
        Err(error) => panic!("{error}: {}", report.json()),
    }
}
