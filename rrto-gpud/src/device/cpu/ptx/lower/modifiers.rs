//! The modifiers of an instruction, each of which must be used.

use super::super::LoadError;
use super::super::ast::{Instruction, Type};
use super::Result;
use crate::device::cpu::alu::{Mode, Rounding};

/// What is left of an instruction's modifiers.
pub(super) struct Modifiers<'a> {
    rest: Vec<&'a str>,
    pub(super) text: &'a str,
    line: u32,
    /// A rounding modifier was there, and whether it rounds to an integral value.
    rounded: Option<bool>,
}

impl<'a> Modifiers<'a> {
    pub(super) fn of(instruction: &Instruction<'a>) -> Self {
        Self {
            rest: instruction.modifiers.clone(),
            text: instruction.text,
            line: instruction.line,
            rounded: None,
        }
    }

    /// Takes a modifier if it is there.
    pub(super) fn take(&mut self, name: &str) -> bool {
        self.take_any(&[name]).is_some()
    }

    /// Takes the first modifier that is one of these.
    pub(super) fn take_any(&mut self, names: &[&str]) -> Option<&'a str> {
        self.take_where(|m| names.contains(&m))
    }

    pub(super) fn take_where(&mut self, accept: impl Fn(&str) -> bool) -> Option<&'a str> {
        let at = self.rest.iter().position(|m| accept(m))?;
        Some(self.rest.remove(at))
    }

    /// The next type.
    pub(super) fn find_type(&mut self) -> Option<Type> {
        self.take_where(|m| Type::named(m).is_some()).and_then(Type::named)
    }

    /// The next type, which must be there.
    pub(super) fn ty(&mut self) -> Result<Type> {
        let missing = LoadError::syntax(self.line, format!("`{}` lacks a type", self.text));
        self.find_type().ok_or(missing)
    }

    /// The rounding modifier, and whether it rounds to an integral value.
    pub(super) fn rounding(&mut self) -> Option<(Rounding, bool)> {
        let name = self.take_any(&["rn", "rz", "rm", "rp", "rna", "rni", "rzi", "rmi", "rpi"])?;
        let rounding = match name {
            "rn" | "rni" => Rounding::Nearest,
            "rz" | "rzi" => Rounding::Zero,
            "rm" | "rmi" => Rounding::Down,
            "rp" | "rpi" => Rounding::Up,
            _ => Rounding::Away,
        };
        self.rounded = Some(name.ends_with('i'));
        Some((rounding, name.ends_with('i')))
    }

    /// Rounding, `.ftz` and `.sat`.
    pub(super) fn mode(&mut self) -> Mode {
        let rounding = self.rounding().map_or(Rounding::Nearest, |r| r.0);
        Mode { rounding, ftz: self.take("ftz"), sat: self.take("sat") }
    }

    /// Whether a rounding modifier has been read, and whether it rounds to an integral value.
    pub(super) fn rounded(&self) -> Option<bool> {
        self.rounded
    }

    /// The error for an instruction that has no meaning here.
    pub(super) fn unsupported(&self) -> LoadError {
        LoadError::unsupported(self.line, format!("the instruction `{}`", self.text))
    }

    /// Ends the reading: anything left is not understood.
    pub(super) fn finish(self) -> Result<()> {
        match self.rest.first() {
            None => Ok(()),
            Some(left) => {
                let what = format!("`.{left}` in the instruction `{}`", self.text);
                Err(LoadError::unsupported(self.line, what))
            }
        }
    }
}
