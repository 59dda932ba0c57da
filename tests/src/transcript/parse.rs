//! Reads a transcript.
//!
//! A line is a step (`C: …`, `-- …`), a setting (`given …`), a title (`== …`), a comment (`# …`) or blank. A line that
//! begins with a blank continues the step (or the `let`) above: as if it stood on the same line, with one blank between
//! them inside a tag and none outside.

use std::path::Path;

use anyhow::{Context, bail, ensure};

use super::script::{Depth, Item, Note, Role, Scene, Script, Settings, Shown, Shows, Step, Stream};

pub(super) fn script(file: &Path, text: &str) -> anyhow::Result<Script> {
    let folder = file
        .parent()
        .and_then(Path::file_name)
        .unwrap_or_default()
        .to_string_lossy();
    let role = match &*folder {
        "receiving" => Role::Receiving,
        "initiating" => Role::Initiating,
        other => bail!("a transcript in a folder called '{other}'"),
    };
    let mut reader = Reader {
        role,
        common: Settings::default(),
        script: Script {
            head: String::new(),
            scenes: Vec::new(),
        },
    };
    for (index, line) in text.lines().enumerate() {
        reader
            .line(index + 1, line)
            .with_context(|| format!("{}:{}", file.display(), index + 1))?;
    }
    let mut script = reader.script;
    ensure!(
        !script.scenes.is_empty(),
        "{}: no scene (a line '== title')",
        file.display()
    );
    for scene in &mut script.scenes {
        let complete = finish(scene);
        complete.with_context(|| format!("{}:{}", file.display(), scene.line))?;
    }
    Ok(script)
}

struct Reader {
    role: Role,
    common: Settings,
    script: Script,
}

impl Reader {
    fn line(&mut self, number: usize, line: &str) -> anyhow::Result<()> {
        let raw = format!("{line}\n");
        if let Some(title) = line.strip_prefix("== ") {
            self.script.scenes.push(Scene {
                title: title.trim().to_owned(),
                line: number,
                head: raw,
                role: self.role,
                settings: self.common.clone(),
                items: Vec::new(),
            });
            return Ok(());
        }
        let continues = line.starts_with([' ', '\t']) && !line.trim().is_empty();
        let Some(scene) = self.script.scenes.last_mut() else {
            self.script.head += &raw;
            if continues {
                return go_on(&mut self.common, line);
            }
            if !is_text(line) {
                setting(&mut self.common, line)?;
            }
            return Ok(());
        };
        if continues && scene.items.is_empty() {
            scene.head += &raw;
            return go_on(&mut scene.settings, line);
        }
        if continues {
            let item = scene.items.last_mut().context("nothing to continue")?;
            item.raw += &raw;
            ensure!(!item.raw.starts_with('#'), "a comment is not continued");
            return Ok(());
        }
        let is_step =
            line.split_once(": ").is_some_and(|(tag, _)| is_tag(tag)) || line.starts_with("-- ");
        if is_step || is_text(line) && !scene.items.is_empty() {
            scene.items.push(Item {
                line: number,
                raw,
                step: None,
            });
            return Ok(());
        }
        scene.head += &raw;
        if is_text(line) {
            return Ok(());
        }
        ensure!(scene.items.is_empty(), "a setting after the first step");
        setting(&mut scene.settings, line)
    }
}

/// A comment or blank.
fn is_text(line: &str) -> bool {
    line.starts_with('#') || line.trim().is_empty()
}

fn is_tag(tag: &str) -> bool {
    let mut letters = tag.chars();
    matches!(letters.next(), Some('C' | 'S' | 'R' | 'A')) && letters.all(|c| c.is_ascii_digit())
}

fn setting(settings: &mut Settings, line: &str) -> anyhow::Result<()> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let rest = rest.trim();
    match word {
        "given" => given(settings, rest)?,
        "policy" | "peer" | "limits" => {
            let table = match word {
                "policy" => "policy",
                "peer" => "peer",
                _ => "limits",
            };
            let (key, value) = rest.split_once('=').context("a setting is KEY = VALUE")?;
            let key = (table, key.trim().to_owned());
            settings.tables.insert(key, value.trim().to_owned());
        }
        "let" => {
            let (name, text) = rest.split_once('=').context("let NAME = TEXT")?;
            let (name, text) = (name.trim().to_owned(), text.trim().to_owned());
            settings.lets.push((name, text));
        }
        "file" => {
            let (name, line) = rest.split_once('=').context("file NAME = LINE")?;
            let (name, line) = (name.trim().to_owned(), line.trim().to_owned());
            settings.files.push((name, line));
        }
        "serves" => settings.serves.push(rest.to_owned()),
        "also" => settings.also.push(rest.to_owned()),
        "without" if rest == "certificate" => settings.without_certificate = true,
        "shows" => settings.shows = Some(shows(rest)?),
        "only" => {
            let reason = rest.strip_prefix("pure: ");
            let reason = reason.context("'only pure: ' and the reason")?;
            settings.only_pure = Some(reason.to_owned());
        }
        _ => bail!("neither a step nor a setting: {line}"),
    }
    Ok(())
}

/// The next line of a `let`.
fn go_on(settings: &mut Settings, line: &str) -> anyhow::Result<()> {
    let (_, text) = settings.lets.last_mut().context("nothing to continue")?;
    *text = unfold(&format!("{text}\n{line}"));
    Ok(())
}

/// Puts texts in place of their names. Texts may have the names of earlier ones in them.
fn spell_out(settings: &Settings, raw: &str) -> String {
    let mut text = raw.to_owned();
    for (name, meaning) in settings.lets.iter().rev() {
        text = text.replace(&format!("{{{name}}}"), meaning);
    }
    text
}

/// `plain, tls from a.example to b.example`
fn given(settings: &mut Settings, text: &str) -> anyhow::Result<()> {
    let (depths, pair) = text
        .split_once(" from ")
        .context("given DEPTH, … from DOMAIN to DOMAIN")?;
    let (from, to) = pair.split_once(" to ").context("… to DOMAIN")?;
    settings.depths = depths
        .split(',')
        .map(|name| {
            let name = name.trim();
            let depth = Depth::ALL.into_iter().find(|depth| depth.name() == name);
            depth.with_context(|| format!("no such depth: {name}"))
        })
        .collect::<anyhow::Result<_>>()?;
    settings.from = from.trim().to_owned();
    settings.to = to.trim().to_owned();
    Ok(())
}

/// `expired a.example, b.example`
fn shows(text: &str) -> anyhow::Result<Shows> {
    let (what, names) = text.split_once(' ').unwrap_or((text, ""));
    let what = match what {
        "nothing" => Shown::Nothing,
        "good" => Shown::Good,
        "expired" => Shown::Expired,
        "self-signed" => Shown::SelfSigned,
        "serverauth" => Shown::ServerAuth,
        other => bail!("no such certificate: {other}"),
    };
    let names = names.split(',').map(|name| name.trim().to_owned());
    let names: Vec<_> = names.filter(|name| !name.is_empty()).collect();
    ensure!(
        names.is_empty() == (what == Shown::Nothing),
        "which names does the certificate have?"
    );
    Ok(Shows { what, names })
}

/// Once all lines are there.
fn finish(scene: &mut Scene) -> anyhow::Result<()> {
    ensure!(!scene.settings.depths.is_empty(), "nothing is given");
    for item in &mut scene.items {
        if !is_text(&item.raw) {
            let read = step(scene.role, &spell_out(&scene.settings, &unfold(&item.raw)));
            item.step = Some(read.with_context(|| format!("line {}", item.line))?);
        }
    }
    Ok(())
}

/// Reads one step, with its continuation lines.
pub(super) fn step(role: Role, raw: &str) -> anyhow::Result<Step> {
    let text = unfold(raw);
    if let Some(note) = text.strip_prefix("-- ") {
        return note_or_action(note);
    }
    let (tag, said) = text.split_once(": ").context("no step")?;
    let number: u8 = match &tag[1..] {
        "" => 1,
        digits => digits.parse()?,
    };
    let said = said.to_owned();
    Ok(match (&tag[..1], role) {
        ("C", Role::Receiving) | ("S", Role::Initiating) => Step::Say(Stream::Main, said),
        ("S", Role::Receiving) | ("C", Role::Initiating) => Step::Hear(Stream::Main, said),
        ("A", _) => match said.strip_prefix("says ") {
            Some(verdict) => Step::Verdict(Stream::Question(number), verdict.trim().to_owned()),
            None => Step::Say(Stream::Question(number), said),
        },
        _ => Step::Hear(Stream::Question(number), said),
    })
}

fn note_or_action(note: &str) -> anyhow::Result<Step> {
    let words: Vec<&str> = note.split_whitespace().collect();
    let owned = |text: &str| text.trim_end_matches(':').to_owned();
    Ok(match words.as_slice() {
        ["TLS"] => Step::Tls(Stream::Main),
        ["TLS", stream] => Step::Tls(question(stream)?),
        [end, "hangs", "up"] => Step::HangUp(if end.starts_with('A') {
            question(end)?
        } else {
            Stream::Main
        }),
        ["time", "is", "up"] => Step::TimeIsUp,
        ["nothing", "happens", "for", "long"] => Step::Idle,
        ["s2sd", "shuts", "down"] => Step::ShutDown,
        ["wants", "from", from, "to", to] => Step::Wants(owned(from), owned(to)),
        ["closed:", cause] => Step::Sees(Note::Closed(owned(cause))),
        ["sends", ..] => Step::Sends(note.trim_start_matches("sends").trim().to_owned()),
        // For whoever writes a transcript with UPDATE=1: here comes a note.
        ["?"] => Step::Sees(Note::Delivered("?".to_owned())),
        ["delivered", ..] => {
            let stanza = note.trim_start_matches("delivered").trim();
            Step::Sees(Note::Delivered(stanza.to_owned()))
        }
        ["proved", "from", from, "to", to, "by", method] => {
            Step::Sees(Note::Proved(owned(from), owned(to), owned(method)))
        }
        ["refused", "from", from, "to", to, cause] => {
            Step::Sees(Note::Refused(owned(from), owned(to), owned(cause)))
        }
        ["answered", condition] => Step::Sees(Note::Answered(owned(condition))),
        ["bounced", condition, cause] => Step::Sees(Note::Bounced(owned(condition), owned(cause))),
        ["connects", "again"] => Step::Sees(Note::ConnectsAgain),
        _ => bail!("nothing like this happens: {note}"),
    })
}

fn question(name: &str) -> anyhow::Result<Stream> {
    let number = name.trim_start_matches(['R', 'A']);
    Ok(Stream::Question(match number {
        "" => 1,
        digits => digits.parse()?,
    }))
}

/// Several lines as one.
fn unfold(raw: &str) -> String {
    let mut text = String::new();
    for line in raw.lines() {
        let line = match text.is_empty() {
            true => line.trim_end(),
            false => line.trim(),
        };
        if is_in_tag(&text) {
            text.push(' ');
        }
        text.push_str(line);
    }
    text
}

/// Does the text end inside a tag?
fn is_in_tag(text: &str) -> bool {
    let mut open = false;
    let mut quote = None;
    for c in text.chars() {
        match (quote, c) {
            (Some(q), c) if q == c => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') if open => quote = Some(c),
            (None, '<') => open = true,
            (None, '>') => open = false,
            (None, _) => {}
        }
    }
    open
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_unfolded_with_a_blank_in_tags_only() {
        let raw = "C: <a\n     b='>'\n     c='1'>\n     <d/>\n   abc\n   def</a>\n";
        assert_eq!(unfold(raw), "C: <a b='>' c='1'><d/>abcdef</a>");
    }

    #[test]
    fn what_is_written_comes_back() {
        let text = "# about\npolicy auth = ['dialback']\n\n== one\n# why\ngiven plain, tls from a.example to b.example\n\nC: <a/>\n# a comment\nS: <b\n     c=''/>\n-- closed: policy\n\n== two\ngiven tcp from a to b\nlimits depth = 3\n";
        let script = script(Path::new("x/receiving/y.txt"), text).unwrap();
        assert_eq!(script.to_string(), text);
        let [one, two] = &script.scenes[..] else {
            panic!("{script:?}");
        };
        assert_eq!(one.settings.depths, [Depth::Plain, Depth::Tls]);
        assert_eq!((one.items.len(), two.items.len()), (5, 0));
        assert_eq!(two.settings.tables.len(), 2);
    }

    #[test]
    fn words_are_spelled_out() {
        let text = "let a = <x\n  y='1'/>\n== t\nlet b = {a}{a}\ngiven tcp from a.example to b.example\nC: {b}z\n";
        let script = script(Path::new("x/receiving/y.txt"), text).unwrap();
        let Some(Step::Say(Stream::Main, said)) = &script.scenes[0].items[0].step else {
            panic!("{script:?}");
        };
        assert_eq!(said, "<x y='1'/><x y='1'/>z");
        assert_eq!(script.to_string(), text);
    }

    #[test]
    fn mistakes_are_told() {
        for bad in [
            "== x\n",
            "== x\ngiven soup from a to b\n",
            "== x\ngiven tcp from a to b\nC: <a/>\nserves c\n",
            "== x\ngiven tcp from a to b\n-- explodes\n",
            "== x\ngiven tcp from a to b\nfoo\n",
            "== x\ngiven tcp from a to b\n-- closed:\n",
            "",
        ] {
            assert!(script(Path::new("receiving/x.txt"), bad).is_err(), "{bad}");
        }
    }
}
