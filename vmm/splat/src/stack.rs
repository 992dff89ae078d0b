//! One call trace of a report, and whose it is.

use crate::Finding;
use crate::frames::Frame;

/// Whose trace it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// Of the CPU or task that the report is about.
    #[default]
    Own,
    /// Of a CPU that was asked for it.
    Cpu,
    /// Of a task that a stall waits for.
    Task,
    /// Of RCU's own thread, which only waits.
    GracePeriod,
    /// Of the CPU where RCU's own thread last ran, and now can't.
    LastRan,
}

/// A call trace, innermost function first.
#[derive(Clone, Debug, Default)]
pub struct Stack {
    pub origin: Origin,
    /// The program counter, where registers were printed above the trace.
    pub pc: Option<Frame>,
    pub frames: Vec<Frame>,
    /// Indices of frames below which another thing goes on: the trace says that an interrupt came there.
    pub breaks: Vec<usize>,
}

impl Stack {
    pub fn of(frames: Vec<Frame>) -> Self {
        Self { frames, ..Self::default() }
    }

    /// Adds a frame at the outer end.
    pub fn push(&mut self, frame: Frame) {
        if self.frames.len() < Finding::MAX_FRAMES {
            self.frames.push(frame);
        }
    }

    /// Adds a frame at the inner end.
    pub fn insert_top(&mut self, frame: Frame) {
        self.frames.insert(0, frame);
        self.frames.truncate(Finding::MAX_FRAMES);
        self.breaks.iter_mut().for_each(|index| *index += 1);
    }

    /// Says that what comes now was interrupted by what came before.
    pub fn cut(&mut self) {
        let at = self.frames.len();
        if at > 0 && at < Finding::MAX_FRAMES && self.breaks.last() != Some(&at) {
            self.breaks.push(at);
        }
    }
}
