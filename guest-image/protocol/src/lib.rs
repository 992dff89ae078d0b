//! What the harness and the agent (PID 1 in the guest) say to each other over the control port.
//!
//! The agent is a machine for system calls: the harness sends one [`Request`], the agent does what it
//! says and sends one [`Reply`] with the same id. Everything that a scenario can do is made of
//! [`Action::Calls`], [`Action::Chain`] and [`Action::Run`], so that a new kind of step needs no new agent. Before the first step come
//! [`Action::Wake`] and, for the files that a scenario brings, [`Action::Place`]. The agent never decides whether a test
//! passed.
//!
//! On the wire each message is a frame: its length (u32, little endian), then its postcard encoding.
//! [`Frames`] takes a byte stream apart again and trusts nothing in it.

#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

extern crate alloc;

mod frame;
mod message;

pub use frame::{FrameError, Frames, MAX_FRAME, encode, encode_up_to};
pub use message::{
    Action, Arg, Call, Content, Door, FromAgent, Hello, Link, Made, OWN_DEV, OWN_PROC, Outcome, PATH, Placed,
    Reply, Request, Stream, VERSION, errno,
};
