//! Bytes as a person writes them.

use crate::template::pieces;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Bytes in which names of results may stand for their values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Data(Vec<Piece>);

/// A piece of [`Data`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Piece {
    /// As it stands.
    Bytes(Vec<u8>),
    /// The value of this name, in decimal.
    Name(String),
}

impl Data {
    /// A text in which `${name}` stands for a value.
    pub fn of_text(text: &str) -> Self {
        let piece = |(before, name): (&str, Option<&str>)| {
            let before = (!before.is_empty()).then(|| Piece::Bytes(before.as_bytes().to_vec()));
            before.into_iter().chain(name.map(|name| Piece::Name(name.to_owned())))
        };
        Self(pieces(text).flat_map(piece).collect())
    }

    /// The names whose values it needs.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Name(name) => Some(&**name),
            Piece::Bytes(_) => None,
        })
    }

    /// As the scenario has it, with names where they stand.
    pub fn written(&self) -> Cow<'_, [u8]> {
        match &self.0[..] {
            [] => Cow::Borrowed(&[]),
            [Piece::Bytes(bytes)] => Cow::Borrowed(bytes),
            pieces => Cow::Owned(
                pieces
                    .iter()
                    .flat_map(|piece| match piece {
                        Piece::Bytes(bytes) => bytes.clone(),
                        Piece::Name(name) => format!("${{{name}}}").into_bytes(),
                    })
                    .collect(),
            ),
        }
    }

    /// With the names' values.
    ///
    /// # Errors
    /// What `value` says of the first name that has none.
    pub fn filled<E>(&self, value: impl Fn(&str) -> Result<i128, E>) -> Result<Cow<'_, [u8]>, E> {
        if self.names().next().is_none() {
            return Ok(self.written());
        }
        let mut filled = Vec::new();
        for piece in &self.0 {
            match piece {
                Piece::Bytes(bytes) => filled.extend(bytes),
                Piece::Name(name) => filled.extend(value(name)?.to_string().bytes()),
            }
        }
        Ok(Cow::Owned(filled))
    }
}

impl From<Vec<u8>> for Data {
    /// These bytes, whatever is in them.
    fn from(bytes: Vec<u8>) -> Self {
        Self(vec![Piece::Bytes(bytes)])
    }
}

impl From<&str> for Data {
    fn from(text: &str) -> Self {
        text.as_bytes().to_vec().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_for_values_and_all_else_for_itself() {
        let value = |name: &str| if name == "n" { Ok(-7) } else { Err(name.to_owned()) };
        let fill = |text: &str| Data::of_text(text).filled(value).map(|bytes| bytes.into_owned());
        assert_eq!(fill("${n} of ${n}\n"), Ok(b"-7 of -7\n".to_vec()));
        assert_eq!(fill("$n ${1:-x} ${ ${n"), Ok(b"$n ${1:-x} ${ ${n".to_vec()));
        assert_eq!(fill("${n}${m}"), Err("m".to_owned()));
        let text = "a ${n} ${1}";
        assert_eq!((&*Data::of_text(text).written(), fill("")), (text.as_bytes(), Ok(Vec::new())));
        assert_eq!(Data::from("${m}").filled(value).unwrap(), &b"${m}"[..]);
    }
}
