//! Plain-text tables.

/// Heads and rows in columns: the first two columns are words and stand left, the others are numbers and stand right.
pub(crate) fn render<const N: usize>(heads: &[&str; N], rows: &[[String; N]]) -> String {
    let heads = heads.map(String::from);
    let lines = || std::iter::once(&heads).chain(rows);
    let widths: [usize; N] = std::array::from_fn(|column| {
        lines().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    });
    let mut text = String::new();
    for line in lines() {
        let cells = line.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
            if column < 2 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        text += format!("  {}", cells.collect::<Vec<_>>().join("   ")).trim_end();
        text.push('\n');
    }
    text
}

/// A whole number with its thousands apart: 1,234,567.
pub(crate) fn grouped(number: f64) -> String {
    let digits = format!("{:.0}", number.abs());
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if number < 0.0 && digits != "0" { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_apart() {
        for (number, text) in [
            (0.0, "0"),
            (-0.2, "0"),
            (999.4, "999"),
            (999.5, "1,000"),
            (1_234_567.0, "1,234,567"),
            (-1500.0, "-1,500"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a".into(), "b".into(), "1".into()], ["long".into(), "x".into(), "1,000".into()]];
        let expected = "\
\u{20}        m       n
  a      b       1
  long   x   1,000
";
        assert_eq!(render(&["", "m", "n"], &rows), expected);
    }
}
