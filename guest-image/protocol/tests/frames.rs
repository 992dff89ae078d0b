//! Frames survive any way of cutting the stream, and any stream.

use proptest::prelude::*;
use protocol::{
    Action, Arg, Call, Door, FrameError, Frames, FromAgent, Link, MAX_FRAME, Outcome, Reply, Request, encode,
};

fn arg() -> impl Strategy<Value = Arg> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..50);
    prop_oneof![
        any::<u64>().prop_map(Arg::Int),
        bytes().prop_map(Arg::In),
        any::<u32>().prop_map(Arg::Out),
        bytes().prop_map(Arg::InOut),
        any::<u16>().prop_map(Arg::Of),
    ]
}

fn call() -> impl Strategy<Value = Call> {
    let door = prop_oneof![Just(Door::Syscall64), Just(Door::Int80)];
    (door, any::<u64>(), prop::collection::vec(arg(), 0..7)).prop_map(|(door, nr, args)| Call {
        door,
        nr,
        args,
    })
}

fn request() -> impl Strategy<Value = Request> {
    let link = (call(), any::<Option<(u16, i64)>>(), any::<Option<u32>>())
        .prop_map(|(call, only, until)| Link { call, only, until });
    let chain = prop::collection::vec(link, 0..3).prop_map(Action::Chain);
    let calls = (prop::collection::vec(call(), 0..3), any::<u32>())
        .prop_map(|(calls, times)| Action::Calls { calls, times });
    let strings = || prop::collection::vec(".{0,9}", 0..4);
    let run = (strings(), strings(), prop::collection::vec(any::<u8>(), 0..50), any::<Option<u32>>())
        .prop_map(|(argv, env, stdin, user)| Action::Run { argv, env, stdin, user });
    (any::<u32>(), prop_oneof![calls, chain, run]).prop_map(|(id, action)| Request { id, action })
}

/// Takes all messages that are there now.
fn take(frames: &mut Frames, into: &mut Vec<Request>) -> Result<(), FrameError> {
    while let Some(message) = frames.next()? {
        into.push(message);
    }
    Ok(())
}

proptest! {
    #[test]
    fn messages_come_through_however_the_stream_is_cut(
        requests in prop::collection::vec(request(), 0..8),
        cuts in prop::collection::vec(1usize..40, 1..20),
    ) {
        let stream: Vec<u8> = requests.iter().flat_map(|request| encode(request).unwrap()).collect();
        let (mut frames, mut got, mut rest) = (Frames::new(), Vec::new(), &stream[..]);
        for cut in cuts.iter().cycle() {
            let (now, later) = rest.split_at(rest.len().min(*cut));
            frames.push(now);
            take(&mut frames, &mut got).unwrap();
            if later.is_empty() {
                break;
            }
            rest = later;
        }
        prop_assert_eq!(got, requests);
    }

    #[test]
    fn a_stream_of_anything_gives_messages_or_an_error(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..10),
        length in 0u32..80,
    ) {
        // A plausible length in front gets the rest as far as the decoder.
        let mut frames = Frames::new();
        frames.push(&length.to_le_bytes());
        let (mut got, mut broken) = (Vec::new(), None);
        for chunk in &chunks {
            frames.push(chunk);
            match take(&mut frames, &mut got) {
                Ok(()) => prop_assert_eq!(broken, None, "a broken stream has healed"),
                Err(error) => broken = Some(error),
            }
        }
    }

    #[test]
    fn a_flipped_bit_is_never_taken_for_two_messages(request in request(), at in any::<prop::sample::Index>()) {
        let mut frame = encode(&request).unwrap();
        let bit = at.index((frame.len() - 4) * 8) + 32;
        frame[bit / 8] ^= 1 << (bit % 8);
        let (mut frames, mut got) = (Frames::new(), Vec::new());
        frames.push(&frame);
        let result = take(&mut frames, &mut got);
        prop_assert!(got.len() + usize::from(result.is_err()) == 1, "{:?} {:?}", got, result);
    }
}

#[test]
fn a_length_over_the_limit_is_an_error_before_its_bytes_arrive() {
    let mut frames = Frames::new();
    let length = MAX_FRAME as u32 + 1;
    frames.push(&length.to_le_bytes());
    assert_eq!(frames.next::<Request>(), Err(FrameError::TooLong(length)));
    let mut frames = Frames::new();
    frames.push(&(MAX_FRAME as u32).to_le_bytes());
    assert_eq!(frames.next::<Request>(), Ok(None));
}

#[test]
fn bytes_behind_a_message_inside_of_its_frame_are_an_error() {
    let reply = Reply { id: 1, outcome: Outcome::Died { signal: 9 }, nanos: 5 };
    let mut frame = encode(&reply).unwrap();
    frame.push(0);
    frame[0] += 1;
    let mut frames = Frames::new();
    frames.push(&frame);
    assert_eq!(frames.next::<Reply>(), Err(FrameError::Garbled));
}

#[test]
fn a_message_that_no_receiver_would_take_is_not_encoded() {
    let reply = |length| {
        let outcome = Outcome::Returned { value: 0, data: vec![vec![7; length]] };
        FromAgent::Reply(Reply { id: 1, outcome, nanos: 0 })
    };
    // What is around the bytes: their length and the message's other fields.
    let around = encode(&reply(1 << 20)).unwrap().len() - 4 - (1 << 20) + 1;
    let longest = MAX_FRAME - around;
    let mut frames = Frames::new();
    frames.push(&encode(&reply(longest)).unwrap());
    assert_eq!(frames.next(), Ok(Some(reply(longest))));
    assert!(matches!(encode(&reply(longest + 1)), Err(FrameError::TooLong(_))));
}
