//! `rrto recording`: what is in a file that `RRTO_RECORD` made, for people who work on the search for sequences.

mod phrases;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use rrto_core::log::recording::{Became, Event, Reader};
use rrto_core::operator::Operator;

use crate::table;
use phrases::Phrases;

/// Show what is in a recording that RRTO_RECORD made
#[derive(Args, Debug)]
pub(crate) struct RecordingArgs {
    /// The recording
    file: PathBuf,
    /// List each stretch of operators between two waits of a thread, and how it differs from the one before it that has
    /// the same shape (all but launches' geometry and parameter bytes)
    #[arg(long)]
    phrases: bool,
}

/// Prints it.
pub(crate) fn run(arguments: &RecordingArgs) -> Result<()> {
    let path = arguments.file.display();
    let bytes = fs::read(&arguments.file).with_context(|| format!("cannot read {path}"))?;
    let mut reader = Reader::new(bytes.into()).with_context(|| path.to_string())?;
    let mut out = io::stdout().lock();
    if !reader.has_same_schema() {
        writeln!(out, "{path} was made with another protocol than this build's: it may make no sense.\n")?;
    }
    let (mut census, mut phrases) = (Census::default(), Phrases::default());
    let end = loop {
        match reader.next() {
            None => break None,
            Some(Err(error)) => break Some(error),
            Some(Ok(event)) => {
                census.count(&event);
                if let Some(line) = phrases.take(event).filter(|_| arguments.phrases) {
                    writeln!(out, "{line}")?;
                }
            }
        }
    };
    for line in phrases.rest().into_iter().filter(|_| arguments.phrases) {
        writeln!(out, "{line}")?;
    }
    let separator = if arguments.phrases { "\n" } else { "" };
    writeln!(out, "{separator}{}{}\n\n{}", census.table(), census.summary(), phrases.summary())?;
    if let Some(error) = end {
        writeln!(out, "\n{error}")?;
    }
    Ok(())
}

/// How many there are of everything.
#[derive(Default)]
struct Census {
    operators: BTreeMap<String, Fates>,
    lanes: BTreeSet<u32>,
    waits: u64,
    blocking_waits: u64,
    failures: u64,
}

/// What became of the operators of one kind.
#[derive(Default, Clone, Copy)]
struct Fates {
    queued: u64,
    awaited: u64,
    answered: u64,
}

impl Census {
    fn count(&mut self, event: &Event) {
        match event {
            Event::Submit { record, became } => {
                self.lanes.insert(record.lane);
                let fates = self.operators.entry(name(&record.operator)).or_default();
                match became {
                    Became::Queued(_) => fates.queued += 1,
                    Became::Awaits(_) => fates.awaited += 1,
                    Became::Answered(outcome) => {
                        fates.answered += 1;
                        self.failures += u64::from(outcome.is_err());
                    }
                }
            }
            Event::Wait { blocks, .. } => {
                self.waits += 1;
                self.blocking_waits += u64::from(*blocks);
            }
            Event::Outcome { outcome, .. } => self.failures += u64::from(outcome.is_err()),
        }
    }

    fn table(&self) -> String {
        let grouped = |count: u64| table::grouped(count as f64);
        let rows: Vec<_> = self
            .operators
            .iter()
            .map(|(name, fates)| {
                let all = fates.queued + fates.awaited + fates.answered;
                let counts = [all, fates.queued, fates.awaited, fates.answered].map(grouped);
                let [all, queued, awaited, answered] = counts;
                [name.clone(), String::new(), all, queued, awaited, answered]
            })
            .collect();
        table::render(&["operator", "", "all", "queued", "awaited", "answered here"], &rows)
    }

    fn summary(&self) -> String {
        format!(
            "\n{} lanes; {} waits, {} of which blocked; {} failures",
            self.lanes.len(),
            self.waits,
            self.blocking_waits,
            self.failures
        )
    }
}

/// The name of an operator's kind, such as `CopyIn`.
fn name(operator: &Operator) -> String {
    /// Takes the first word of what is written, and refuses the rest.
    struct FirstWord(String);
    impl fmt::Write for FirstWord {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let word = text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
            self.0.push_str(word);
            if word.len() == text.len() { Ok(()) } else { Err(fmt::Error) }
        }
    }
    let mut word = FirstWord(String::new());
    // The error is how the writing ends after the first word.
    let _ = write!(word, "{operator:?}");
    word.0
}

#[cfg(test)]
mod tests {
    use rrto_core::operator::{Geometry, Handle, Launch};

    use super::*;

    #[test]
    fn operators_have_names() {
        let launch = Launch {
            function: Handle(1),
            geometry: Geometry::default(),
            stream: Handle(0),
            cooperative: false,
            attributes: vec![],
            params: vec![].into(),
        };
        for (operator, expected) in [
            (Operator::MemGetInfo, "MemGetInfo"),
            (Operator::MemAlloc { bytes: 1 }, "MemAlloc"),
            (Operator::Launch(launch), "Launch"),
        ] {
            assert_eq!(name(&operator), expected);
        }
    }
}
