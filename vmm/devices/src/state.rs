//! Devices hand out their whole state as plain data, and take it back.
//!
//! Connections to the host (where a port's bytes go, the interrupt line) are given to a device when it is made,
//! and are no part of its state: they stay as they are when a state is put back.

use machine::BusDevice;
use serde::{Serialize, de::DeserializeOwned};

/// A state that this device can't have: saved by another version, or damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no state of such a device")]
pub struct BadState;

/// What a device remembers from one access to the next.
pub trait Stateful {
    /// All of it.
    type State: Serialize + DeserializeOwned;

    /// The state now.
    fn state(&self) -> Self::State;

    /// Goes on from a state that this kind of device has handed out.
    ///
    /// # Errors
    /// A state that it can't have; the device is as before.
    fn set_state(&mut self, state: Self::State) -> Result<(), BadState>;

    /// How often the guest's driver broke the rules.
    fn errors(&self) -> u64 {
        0
    }
}

/// A device as its machine sees it, whatever it is.
pub trait Device: BusDevice {
    /// The whole state, in postcard's encoding.
    fn save(&self) -> Vec<u8>;

    /// Goes on from what [`Device::save`] returned.
    ///
    /// # Errors
    /// As [`Stateful::set_state`].
    fn restore(&mut self, saved: &[u8]) -> Result<(), BadState>;

    /// How often the guest's driver broke the rules.
    fn errors(&self) -> u64;
}

impl<D: BusDevice + Stateful> Device for D {
    fn save(&self) -> Vec<u8> {
        postcard::to_allocvec(&self.state()).expect("encoding into memory")
    }

    fn restore(&mut self, saved: &[u8]) -> Result<(), BadState> {
        match postcard::take_from_bytes(saved) {
            Ok((state, [])) => self.set_state(state),
            _ => Err(BadState),
        }
    }

    fn errors(&self) -> u64 {
        Stateful::errors(self)
    }
}
