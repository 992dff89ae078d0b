//! How often each value of a byte comes in a stream: enough to see that something was put into it, in whatever pieces it came.

use serde::{Deserialize, Serialize};

/// The counts; none for a stream that had nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ByteCounts(Vec<u64>);

impl ByteCounts {
    /// Takes what came.
    pub fn add(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.0.resize(256, 0);
        }
        for byte in bytes {
            let count = &mut self.0[usize::from(*byte)];
            *count = count.saturating_add(1);
        }
    }

    /// So many bytes there were.
    pub fn length(&self) -> u64 {
        self.0.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// So many of them did not come in the other stream.
    pub fn beyond(&self, other: &Self) -> u64 {
        let theirs = other.0.iter().copied().chain(std::iter::repeat(0));
        self.0
            .iter()
            .zip(theirs)
            .fold(0, |sum, (ours, theirs)| sum.saturating_add(ours.saturating_sub(theirs)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u8]) -> ByteCounts {
        let mut counts = ByteCounts::default();
        counts.add(bytes);
        counts
    }

    #[test]
    fn what_did_not_come_is_counted_by_its_value() {
        assert_eq!(of(b"abba").beyond(&of(b"bab")), 1);
        assert_eq!(of(b"abba").beyond(&of(b"zzbzazbza")), 0);
        assert_eq!(of(b"42").beyond(&of(b"xx")), 2);
        assert_eq!((of(b"42").beyond(&ByteCounts::default()), of(b"").beyond(&of(b"a"))), (2, 0));
        assert_eq!((of(b"abba").length(), ByteCounts::default().length()), (4, 0));
    }
}
