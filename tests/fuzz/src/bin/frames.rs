//! Streams of frames, as they come from a guest's agent, from a machine process, and from an emulated host: whole ones, cut
//! ones, and bytes that are none.

#![no_main]

use board::wire::{Command, Notice};
use engine::event::Event;
use fuzz::Input;
use libfuzzer_sys::fuzz_target;
use protocol::{Frames, FromAgent, Placed, Request};
use serde::{Serialize, de::DeserializeOwned};

/// Reads messages until the stream has no more or loses its beat.
fn read<T: DeserializeOwned + Serialize>(input: &mut Input<'_>) {
    let framed = input.u8();
    let piece = usize::from(input.u8()) + 1;
    let mut frames = Frames::up_to(64 << 20);
    // Framed by us, every payload gets as far as the decoder.
    let bytes = match framed % 2 {
        0 => input.rest().to_vec(),
        _ => {
            let payload = input.rest();
            [&(payload.len() as u32).to_le_bytes(), payload].concat()
        }
    };
    for piece in bytes.chunks(piece) {
        frames.push(piece);
        loop {
            match frames.next::<T>() {
                Ok(Some(message)) => again(&message),
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
}

/// What was understood can be said again, and means the same.
fn again<T: DeserializeOwned + Serialize>(message: &T) {
    let Ok(bytes) = protocol::encode_up_to(64 << 20, message) else { return };
    let mut frames = Frames::up_to(64 << 20);
    frames.push(&bytes);
    let back = frames.next::<T>().expect("it is a frame").expect("it is whole");
    assert!(protocol::encode_up_to(64 << 20, &back).is_ok_and(|again| again == bytes));
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    match input.u8() % 6 {
        0 => read::<FromAgent>(&mut input),
        1 => read::<Request>(&mut input),
        2 => read::<Command>(&mut input),
        3 => read::<Notice>(&mut input),
        4 => read::<Event>(&mut input),
        _ => read::<Vec<Placed>>(&mut input),
    }
});
