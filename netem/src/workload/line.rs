//! What programs print about their inferences.

/// A line `inference NUMBER SECONDS DIGEST [cpu=SECONDS] [wrong]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Inference {
    /// Counted from 0.
    pub number: u64,
    /// From the input's copy to the output.
    pub seconds: f64,
    /// Of the output; the same in every mode if the program's inputs are.
    pub digest: String,
    /// What the program's process computed in it.
    pub cpu_s: Option<f64>,
    /// The program knows that the output is wrong.
    pub is_wrong: bool,
}

/// The longest digest that is kept, in characters: a SHA-512.
const MAX_DIGEST: usize = 128;

impl Inference {
    /// Reads a line; all that is not about an inference is the program's own business, and `None`.
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        if words.next() != Some("inference") {
            return None;
        }
        let number = words.next()?.parse().ok()?;
        let seconds = time(words.next()?)?;
        let digest = words.next().filter(|digest| digest.len() <= MAX_DIGEST)?.to_owned();
        let mut inference = Self { number, seconds, digest, cpu_s: None, is_wrong: false };
        for word in words {
            match word.strip_prefix("cpu=") {
                Some(cpu) => inference.cpu_s = Some(time(cpu)?),
                None if word == "wrong" => inference.is_wrong = true,
                None => return None,
            }
        }
        Some(inference)
    }
}

fn time(text: &str) -> Option<f64> {
    text.parse().ok().filter(|seconds: &f64| seconds.is_finite() && *seconds >= 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_others_left_alone() {
        let full = Inference::parse("inference 12 0.0634 9f3a cpu=0.002 wrong");
        let expected = Inference {
            number: 12,
            seconds: 0.0634,
            digest: "9f3a".into(),
            cpu_s: Some(0.002),
            is_wrong: true,
        };
        assert_eq!(full, Some(expected));
        assert!(Inference::parse("inference 0 1 -").is_some_and(|i| !i.is_wrong && i.cpu_s.is_none()));
        for other in [
            "",
            "loading",
            "inference",
            "inference x 1 d",
            "inference 1 inf d",
            "inference 1 -1 d",
            "inference 1 1 d what",
        ] {
            assert_eq!(Inference::parse(other), None, "{other}");
        }
    }
}
