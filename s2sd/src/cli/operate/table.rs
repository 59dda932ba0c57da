//! Tables for people: columns that line up, cut to the width of a terminal.

/// One column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    title: &'static str,
    is_number: bool,
    /// So narrow it may become where there is no room; none: it is never cut.
    least: Option<usize>,
}

/// A column of words, which is never cut.
pub(super) const fn words(title: &'static str) -> Column {
    Column {
        title,
        is_number: false,
        least: None,
    }
}

/// A column of words that may be cut to so many characters.
pub(super) const fn cut(title: &'static str, least: usize) -> Column {
    Column {
        title,
        is_number: false,
        least: Some(least),
    }
}

/// A column of numbers, which stand on the right.
pub(super) const fn number(title: &'static str) -> Column {
    Column {
        title,
        is_number: true,
        least: None,
    }
}

const GAP: usize = 2;

/// The table, each line with its end. `width`: of the terminal, if it is one.
pub(super) fn render(columns: &[Column], rows: &[Vec<String>], width: Option<usize>) -> String {
    let mut widths: Vec<usize> = columns.iter().map(|it| length(it.title)).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(length(cell));
        }
    }
    if let Some(width) = width {
        fit(columns, &mut widths, width);
    }
    let titles: Vec<String> = columns.iter().map(|it| it.title.to_owned()).collect();
    let mut text = String::new();
    for row in std::iter::once(&titles).chain(rows) {
        let mut line = String::new();
        for ((column, &width), cell) in columns.iter().zip(&widths).zip(row) {
            if !line.is_empty() {
                line.push_str(&" ".repeat(GAP));
            }
            let cell = shortened(cell, width);
            let blanks = " ".repeat(width - length(&cell));
            match column.is_number {
                true => line.extend([blanks.as_str(), &cell]),
                false => line.extend([cell.as_str(), &blanks]),
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Takes from the widest column that may be cut, until all fit or none may be cut any more.
fn fit(columns: &[Column], widths: &mut [usize], width: usize) {
    let all =
        |widths: &[usize]| widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
    while all(widths) > width {
        let may_be_cut = columns.iter().zip(widths.iter_mut());
        let may_be_cut = may_be_cut
            .filter_map(|(column, now)| column.least.filter(|least| *now > *least).map(|_| now));
        let Some(widest) = may_be_cut.max_by_key(|now| **now) else {
            return;
        };
        *widest -= 1;
    }
}

fn length(text: &str) -> usize {
    text.chars().count()
}

/// At most so many characters, with a mark where some are missing.
fn shortened(text: &str, most: usize) -> String {
    if length(text) <= most {
        return text.to_owned();
    }
    let kept = text.chars().take(most.saturating_sub(1));
    kept.chain(['…']).take(most).collect()
}

/// A time in its largest two units: `45s`, `12m`, `3h05m`, `2d04h`.
pub(super) fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m{:02}s", seconds % 60),
        3600..86400 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

/// Bytes in a unit in which they have at most four digits.
pub(super) fn size(bytes: u64) -> String {
    let (mut amount, mut unit) = (bytes, "B");
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if amount < 10_000 {
            break;
        }
        (amount, unit) = (amount.div_ceil(1024), larger);
    }
    format!("{amount} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [words("ID"), cut("PAIR", 6), number("STANZAS")];

    fn rows() -> Vec<Vec<String>> {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        vec![row(["1", "a.example", "5"]), row(["20", "b", "123"])]
    }

    #[test]
    fn columns_line_up_and_numbers_stand_on_the_right() {
        assert_eq!(
            render(&COLUMNS, &rows(), None),
            "ID  PAIR       STANZAS\n1   a.example        5\n20  b              123\n"
        );
    }

    #[test]
    fn a_table_is_cut_to_the_terminal_but_not_below_what_can_be_read() {
        let narrow = render(&COLUMNS, &rows(), Some(20));
        assert_eq!(
            narrow,
            "ID  PAIR     STANZAS\n1   a.exam…        5\n20  b            123\n"
        );
        let narrower = render(&COLUMNS, &rows(), Some(5));
        assert!(narrower.contains("a.exa…"), "{narrower}");
        assert!(
            narrower.lines().all(|line| length(line) <= 19),
            "{narrower}"
        );
    }

    #[test]
    fn times_and_sizes_are_short() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m00s"),
            (3599, "59m59s"),
            (3660, "1h01m"),
            (90_000, "1d01h"),
        ] {
            assert_eq!(span(seconds), text);
        }
        for (bytes, text) in [
            (0, "0 B"),
            (9_999, "9999 B"),
            (10_000, "10 KiB"),
            (64 << 20, "64 MiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
