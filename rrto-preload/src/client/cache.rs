//! Answers to pure questions, by the whole question.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use foldhash::fast::FixedState;
use rrto_core::api::CuResult;
use rrto_core::operator::{Operator, Value};

use super::Call;

/// A program asks a few hundred distinct questions. One that asks ever new ones starts over.
const ANSWERS_MAX: usize = 16 << 10;

/// What the server has answered. Errors are not remembered.
#[derive(Debug, Default)]
pub(super) struct Answers {
    known: RwLock<HashMap<Operator, Value, FixedState>>,
}

impl Answers {
    /// Forgets everything, because something has changed that an answer may depend on.
    pub(super) fn forget(&self) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn get<T>(&self, question: &Operator, form: impl Fn(&Value) -> Option<T>) -> Option<T> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(question).and_then(form)
    }

    fn put(&self, question: Operator, answer: Value) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= ANSWERS_MAX {
            known.clear();
        }
        known.insert(question, answer);
    }
}

impl Call<'_> {
    /// The answer to a question that always has the same answer, until [`Answers::forget`]. `form` takes it apart;
    /// `None` where it has not the form that it must have, and then it is not remembered.
    pub(super) fn ask<T>(
        &self,
        question: Operator,
        form: impl Fn(&Value) -> Option<T>,
    ) -> Result<T, CuResult> {
        if let Some(known) = self.client.answers.get(&question, &form) {
            return Ok(known);
        }
        let answer = self.send(question.clone())?;
        let taken = form(&answer).ok_or_else(|| Call::unexpected("a question", &answer))?;
        self.client.answers.put(question, answer);
        Ok(taken)
    }
}
