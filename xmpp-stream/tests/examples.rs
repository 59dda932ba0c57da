//! What the examples show is so.
#![allow(clippy::unwrap_used, dead_code)]

#[path = "../examples/stream_management.rs"]
mod stream_management;

#[test]
fn a_component_with_stream_management_loses_and_doubles_nothing_when_its_connection_breaks() {
    let (again, taken) = stream_management::demonstrate().unwrap();
    assert!(again > 0, "nothing went again");
    let all: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    assert_eq!(taken, all);
}
