//! One short name for the same splat in every run and every build.

use sha2::{Digest, Sha256};

use crate::{Frame, Kind, blame};

/// How many frames go in: enough to tell two callers of one function apart, few enough that the way in (syscall,
/// kthread) makes no difference.
const DEPTH: usize = 5;

/// 16 hex digits over kind, function, what a checker found there, and leading frames, of those that no interrupt separates from the function. Offsets, addresses, modules, lines and inlined frames stay out: they change with
/// the compiler, the load address and whether there is debug info.
pub fn fingerprint(kind: Kind, title: &str, function: Option<&str>, frames: &[Frame]) -> String {
    let mut hash = Sha256::new();
    let mut add = |part: &str| {
        hash.update(part.as_bytes());
        hash.update([0]);
    };
    add(kind.name());
    // The title has the function in it.
    add(function.filter(|_| !kind.is_checker()).unwrap_or(title));
    // Inside of that function a stall is somewhere else in every run.
    let inner = if kind.is_stall() {
        let named = frames.iter().rposition(|frame| Some(frame.function.as_str()) == function);
        named.unwrap_or(frames.len())
    } else {
        0
    };
    frames[inner..]
        .iter()
        .filter(|frame| blame::tells(frame, kind))
        .map(|frame| frame.function.as_str())
        .take(DEPTH)
        .for_each(add);
    hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}
