//! Frames: a length, then postcard.

use alloc::vec::Vec;
use core::fmt;
use serde::{Serialize, de::DeserializeOwned};

/// The largest payload in bytes. A larger length in a stream means that its sender is broken or
/// hostile, and nothing is allocated for it.
pub const MAX_FRAME: usize = 8 << 20;

/// Why a stream of frames can't be read on. None of these heals: the stream has lost its beat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// A frame says that it is longer than any should be, [`MAX_FRAME`] by default.
    TooLong(u32),
    /// A frame's payload is not the message that it should be.
    Garbled,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(length) => write!(f, "a frame of {length} bytes, which is more than any has"),
            Self::Garbled => write!(f, "a frame that holds no valid message"),
        }
    }
}

impl core::error::Error for FrameError {}

/// One message as a frame.
///
/// # Errors
/// The message is longer than a frame may be: no receiver would take it.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    encode_up_to(MAX_FRAME, message)
}

/// The same for who takes longer ones: [`Frames::up_to`] as many bytes.
///
/// # Errors
/// As [`encode`].
pub fn encode_up_to<T: Serialize>(longest: usize, message: &T) -> Result<Vec<u8>, FrameError> {
    let mut frame = postcard::to_extend(message, Vec::from([0; 4])).map_err(|_| FrameError::Garbled)?;
    let length = u32::try_from(frame.len() - 4).unwrap_or(u32::MAX);
    if length as usize > longest {
        return Err(FrameError::TooLong(length));
    }
    frame[..4].copy_from_slice(&length.to_le_bytes());
    Ok(frame)
}

/// Collects bytes as they arrive and gives back whole messages.
pub struct Frames {
    bytes: Vec<u8>,
    start: usize,
    longest: usize,
}

impl Default for Frames {
    fn default() -> Self {
        Self::up_to(MAX_FRAME)
    }
}

impl Frames {
    /// An empty collector.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty collector of frames whose payloads have so many bytes at the most.
    pub fn up_to(longest: usize) -> Self {
        Self { bytes: Vec::new(), start: 0, longest }
    }

    /// Takes what the stream brought.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 && self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole message; `None` until more bytes arrive.
    #[expect(clippy::should_implement_trait, reason = "each call may ask for another type")]
    pub fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let pending = &self.bytes[self.start..];
        let Some((head, rest)) = pending.split_first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_le_bytes(*head);
        if length as usize > self.longest {
            return Err(FrameError::TooLong(length));
        }
        let Some(payload) = rest.get(..length as usize) else { return Ok(None) };
        let message = match postcard::take_from_bytes(payload) {
            Ok((message, [])) => message,
            _ => return Err(FrameError::Garbled),
        };
        self.start += 4 + length as usize;
        if self.start > 64 << 10 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        Ok(Some(message))
    }
}
