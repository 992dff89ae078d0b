//! `--report events=FILE`: what happens, as it happens, one JSON object a line (NDJSON), for any tool to follow.
//!
//! Every line has `event` (what) and, but for the first and the last, `scenario` (the file).

use crate::{
    Reporter,
    record::Session,
    target::{self, Target},
};
use judge::{Began, Judged, LeftOut};
use serde_json::{Value, json};
use std::{
    fs::{File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

/// So many bytes of a run are of what its guest makes as often as it likes, and one line more. Of all that it makes later it is
/// only said at the end how much it was.
const ROOM: usize = if cfg!(test) { 64 << 10 } else { 64 << 20 };

/// Writes lines of JSON.
pub struct Events {
    out: File,
    path: PathBuf,
    scenario: String,
    /// In bytes, what the guest of this run made as often as it liked.
    bulk: usize,
    left_out: LeftOut,
    passed: usize,
    ended: usize,
}

impl Events {
    /// A report at this path, which is emptied if it is a file. A pipe must have its reader soon.
    ///
    /// # Errors
    /// In words, why it can't be written.
    pub fn create(path: &Path) -> Result<Self, String> {
        let cannot = |error: io::Error| format!("can't write the report {}: {error}", path.display());
        let out = match Target::at(path)? {
            Target::File(file) => File::create(&file)
                .and_then(|_| OpenOptions::new().append(true).open(&file))
                .map_err(cannot)?,
            Target::Stream(path) => target::opened(&path).map_err(cannot)?,
        };
        Ok(Self {
            out,
            path: path.to_owned(),
            scenario: String::new(),
            bulk: 0,
            left_out: LeftOut::default(),
            passed: 0,
            ended: 0,
        })
    }

    /// Says how long the line was.
    fn tell(&mut self, value: &Value) -> io::Result<usize> {
        // In one piece: whoever follows never sees half a line.
        let line = format!("{value}\n");
        let written = target::write_all(&mut self.out, line.as_bytes()).map(|()| line.len());
        written.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", self.path.display())))
    }
}

/// All that happened in a run that ended before it began.
pub fn aborted(session: &Session) -> String {
    let why = session.unfinished().map(|why| (why.verdict.name(), why.reason));
    let (verdict, reason) = why.unzip();
    format!("{}\n", json!({ "event": "aborted", "verdict": verdict, "reason": reason }))
}

impl Reporter for Events {
    fn begin(&mut self, all: &[Began]) -> io::Result<()> {
        let scenarios: Vec<String> = all.iter().map(|began| began.path.display().to_string()).collect();
        self.tell(&json!({ "event": "planned", "schema": 1, "scenarios": scenarios })).map(drop)
    }

    fn event(&mut self, judged: &Judged) -> io::Result<()> {
        let is_bulk = judged.bulk().is_some();
        if is_bulk && self.bulk >= ROOM {
            self.left_out.count(judged);
            return Ok(());
        }
        if let Judged::Ended(_) = judged {
            self.bulk = 0;
            let left_out = std::mem::take(&mut self.left_out);
            if !left_out.is_nothing() {
                self.event(&Judged::LeftOut(left_out))?;
            }
        }
        let mut value = match judged {
            Judged::Began(began) => {
                self.scenario = began.path.display().to_string();
                json!({ "event": "began", "name": began.scenario, "variant": began.variant, "attempt": began.attempt, "steps": began.steps.len() })
            }
            Judged::Host(host) => json!({ "event": "host", "host": host }),
            Judged::Kernel(kernel) => {
                json!({ "event": "kernel", "release": kernel.release, "hash": kernel.hash, "cached": kernel.cached })
            }
            Judged::Booted(booted) => {
                json!({ "event": "booted", "ready_ms": booted.ready.as_secs_f64() * 1e3, "exits": booted.exits, "release": booted.release, "start": crate::json::start(booted) })
            }
            Judged::StepBegan(index) => json!({ "event": "step-began", "step": index }),
            Judged::Step(step) => {
                let mut value = crate::json::step(step);
                value["event"] = "step".into();
                value["step"] = step.index.into();
                value
            }
            Judged::Log(record, step) => {
                json!({ "event": "log", "seq": record.seq, "time_ms": record.time.as_secs_f64() * 1e3, "level": record.level, "text": record.text, "user": record.user, "step": step })
            }
            Judged::Call(name, seen) => {
                json!({ "event": "call", "text": crate::trace::call(name, seen), "result": crate::trace::result(seen) })
            }
            Judged::Console(bytes) => json!({ "event": "console", "text": String::from_utf8_lossy(bytes) }),
            Judged::LeftOut(LeftOut { console_bytes, log_lines, calls }) => {
                json!({ "event": "left-out", "console_bytes": console_bytes, "log_lines": log_lines, "calls": calls })
            }
            Judged::Ended(report) => {
                let findings: Vec<Value> = report.findings.iter().map(crate::json::finding).collect();
                let calls: Vec<Value> = report.syscalls.iter().map(crate::json::call).collect();
                json!({ "event": "ended", "verdict": report.verdict.name(), "reason": report.reason.to_string(), "findings": findings, "syscalls": calls })
            }
            Judged::Settled(settled) => {
                self.ended += 1;
                let is_good = [settled.verdict, settled.counted] == [judge::Verdict::Pass; 2];
                self.passed += usize::from(is_good);
                json!({ "event": "settled", "verdict": settled.verdict.name(), "counted": settled.counted.name(), "flaky": settled.is_flaky(), "attempts": settled.attempts.len(), "quarantined": settled.quarantined })
            }
            Judged::Modules(..) | Judged::Attempt(_) => return Ok(()),
        };
        value["scenario"] = self.scenario.as_str().into();
        let length = self.tell(&value)?;
        self.bulk += if is_bulk { length } else { 0 };
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        let (passed, ended) = (self.passed, self.ended);
        self.tell(&json!({ "event": "finished", "ended": ended, "passed": passed })).map(drop)
    }
}
