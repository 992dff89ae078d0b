//! Findings as a person reads them.

use std::fmt;

use crate::{Finding, Frame};

/// Frames shown of a finding; JSON has them all.
const SHOWN: usize = 16;

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.kind, self.title)?;
        write!(f, "  lines {}-{}", self.lines.first, self.lines.last)?;
        if let Some(place) = &self.file_line {
            write!(f, ", at {place}")?;
        }
        if let Some(cpu) = self.cpu {
            write!(f, ", CPU {cpu}")?;
        }
        if let Some(pid) = self.pid {
            write!(f, ", pid {pid}")?;
        }
        if let Some(comm) = &self.comm {
            write!(f, " ({comm})")?;
        }
        match self.taint.as_deref() {
            None => {}
            Some("") => write!(f, ", not tainted")?,
            Some(letters) => write!(f, ", taint {letters}")?,
        }
        writeln!(f)?;
        for frame in self.frames.iter().take(SHOWN) {
            writeln!(f, "    {frame}")?;
        }
        if self.frames.len() > SHOWN {
            writeln!(f, "    ... and {} more", self.frames.len() - SHOWN)?;
        }
        if let Some(reason) = &self.panicked {
            writeln!(f, "  then the kernel panicked: {reason}")?;
        }
        if self.corrupted {
            writeln!(f, "  corrupted: {}", self.damage.join("; "))?;
        }
        writeln!(f, "  fingerprint {}", self.fingerprint)
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.function)?;
        if let (Some(offset), Some(size)) = (self.offset, self.size) {
            write!(f, "+{offset:#x}/{size:#x}")?;
        }
        if let Some(module) = &self.module {
            write!(f, " [{module}]")?;
        }
        if let (Some(file), Some(line)) = (&self.file, self.line) {
            write!(f, "  {file}:{line}")?;
        }
        if self.inlined {
            f.write_str(" (inlined)")?;
        }
        Ok(())
    }
}

/// All findings as text, an empty line between two; the empty string when there are none.
pub fn render(findings: &[Finding]) -> String {
    findings.iter().map(Finding::to_string).collect::<Vec<_>>().join("\n")
}
