//! The outcome as one HTML page that needs nothing beside it.

use super::report::{Entry, RowResult};
use std::fmt::Write as _;

const HEAD: &str = "<!doctype html>
<html lang=\"en\">
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width\">
<title>s2sd interop</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }
  table { border-collapse: collapse; width: 100%; }
  th, td { border-bottom: 1px solid #8886; padding: .3rem .6rem; text-align: left; vertical-align: top; }
  .passed { color: #17692b; } .failed { color: #b00020; font-weight: bold; } .not-applicable { color: #777; }
</style>
";

/// Which servers were there, how the rows ended, and every row with its reason.
pub(super) fn html(peers: &[(&'static str, String)], rows: &[Entry]) -> String {
    let count = |verdict| rows.iter().filter(|row| row.result == verdict).count();
    let mut page = String::from(HEAD);
    let _ = writeln!(
        page,
        "<h1>s2sd interop</h1>\n<p>{} ok, {} failed, {} not applicable</p>\n<ul>",
        count(RowResult::Passed),
        count(RowResult::Failed),
        count(RowResult::NotApplicable)
    );
    for (peer, version) in peers {
        let _ = writeln!(page, "<li>{} {}</li>", escaped(peer), escaped(version));
    }
    page.push_str("</ul>\n<table>\n<tr><th>peer<th>scenario<th>the peer is<th>result<th>seconds<th>reason</tr>\n");
    for row in rows {
        let (class, word) = match row.result {
            RowResult::Passed => ("passed", "ok"),
            RowResult::Failed => ("failed", "FAIL"),
            RowResult::NotApplicable => ("not-applicable", "n/a"),
        };
        let _ = writeln!(
            page,
            "<tr><td>{}<td>{}<td>{}<td class=\"{class}\">{word}<td>{:.1}<td>{}</tr>",
            escaped(row.peer),
            escaped(row.scenario),
            escaped(row.part),
            row.seconds,
            escaped(row.reason.as_deref().unwrap_or_default())
        );
    }
    page.push_str("</table>\n</html>\n");
    page
}

/// Reasons hold what peers said.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_stands_with_its_result_and_what_a_peer_said_is_no_markup() {
        let row = Entry {
            peer: "a",
            scenario: "x",
            part: "receiving",
            result: RowResult::Failed,
            reason: Some("it said <script> & \"more\"".to_owned()),
            seconds: 1.26,
        };
        let page = html(&[("a", "1.0".to_owned())], &[row]);
        assert!(page.contains("0 ok, 1 failed, 0 not applicable"), "{page}");
        assert!(page.contains("<li>a 1.0</li>"), "{page}");
        let want = "<tr><td>a<td>x<td>receiving<td class=\"failed\">FAIL<td>1.3\
                    <td>it said &lt;script&gt; &amp; &quot;more&quot;</tr>";
        assert!(page.contains(want), "{page}");
    }
}
