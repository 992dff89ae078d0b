//! `--report json=FILE`: the run as one object, for programs.
//!
//! A file is whole at every moment: it is written before anything runs, after every step, and at the
//! end, each time beside itself and then renamed. What is no file, such as a pipe, is written to once, at the end. Until the end its verdict is `infra`, so that a run
//! that was killed can't be taken for a pass.

use super::{Reporter, target::Target, trace};
use base::taint;
use board::wire::SeenCall;
use engine::event::{Booted, Start};
use judge::{
    Began, BoundedLog, Build, Excuse, Failure, Finding, Judged, JudgedStep, Kernel, RunReport, Subtest,
    SyscallRow, Taint,
};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// A scenario of more than so many steps...
const MANY: usize = 200;
/// Traced calls beyond so many are only counted.
const MOST_CALLS: usize = 10_000;
/// ...has its file written this often at the most, or writing it would take longer than the run.
const PAUSE: Duration = Duration::from_millis(200);

/// Writes a run as JSON.
pub struct Json {
    target: Target,
    began: Option<Began>,
    host: Option<String>,
    kernel: Option<Kernel>,
    builds: Vec<Build>,
    preflight: Option<Duration>,
    booted: Option<Booted>,
    steps: Vec<JudgedStep>,
    step_log: BTreeMap<u64, usize>,
    log: BoundedLog,
    /// Traced calls, the first of them, and how many more there were.
    trace: Vec<Value>,
    untold: u64,
    report: Option<RunReport>,
    written: Option<Instant>,
}

impl Json {
    /// A report at this path. Nothing is written yet, but it is tried whether that can be done.
    ///
    /// # Errors
    /// In words, why it can't be written.
    pub fn create(path: &Path) -> Result<Self, String> {
        Ok(Self {
            target: Target::at(path)?,
            began: None,
            host: None,
            kernel: None,
            builds: Vec::new(),
            preflight: None,
            booted: None,
            steps: Vec::new(),
            step_log: BTreeMap::new(),
            log: BoundedLog::default(),
            trace: Vec::new(),
            untold: 0,
            report: None,
            written: None,
        })
    }

    fn write(&mut self) -> io::Result<()> {
        // What can be written only once waits for the end.
        if !self.target.is_file() && self.report.is_none() {
            return Ok(());
        }
        let mut text = serde_json::to_vec_pretty(&self.object())?;
        text.push(b'\n');
        self.target.write(&text)?;
        self.written = Some(Instant::now());
        Ok(())
    }

    fn object(&self) -> Value {
        let report = self.report.as_ref();
        let verdict = report.map_or("infra", |report| report.verdict.name());
        let reason = report
            .map_or("the run was cut off before its end".to_owned(), |report| report.reason.to_string());
        let release = self.booted.as_ref().map(|booted| &booted.release);
        let kernel = self.kernel.as_ref().map(|kernel| {
            json!({
                "release": release.or(kernel.release.as_ref()),
                "hash": kernel.hash,
                "cached": kernel.cached,
                "warnings": kernel.warnings,
            })
        });
        let rows = report.map_or(&[][..], |report| &report.syscalls);
        let steps: Vec<Value> = self.steps.iter().map(step).collect();
        let calls: Vec<Value> = rows.iter().map(call).collect();
        json!({
            "verdict": verdict,
            "reason": reason,
            "scenario": self.began.as_ref().map(|began| json!({
                "name": began.scenario,
                "path": began.path.display().to_string(),
                "warnings": began.notes,
            })),
            "host": self.host,
            "kernel": kernel,
            "builds": self.builds.iter().map(build).collect::<Vec<_>>(),
            "steps": steps,
            "failures": report.map_or(&[][..], |report| &report.failures).iter().map(failure).collect::<Vec<_>>(),
            "expectations": report.map(|report| report.expectations),
            "subtests": report.map_or(&[][..], |report| &report.subtests).iter().map(subtest).collect::<Vec<_>>(),
            "findings": report.map_or(&[][..], |report| &report.findings).iter().map(finding).collect::<Vec<_>>(),
            "taint": report.map(|report| taint(&report.taint)),
            "syscalls": calls,
            "tampered": report.map(|report| lines(&report.tampered)),
            "entry_writes": report.map(|report| lines(&report.entry_writes)),
            "not_known": report.map(|report| lines(&report.unknown)),
            "trace": self.trace,
            "trace_calls_dropped": self.untold,
            "not_counted_because": self.booted.as_ref().and_then(|booted| booted.not_trapping.clone()),
            "start": self.booted.as_ref().map(start),
            "timing": self.timing(),
            "exits": {
                "until_ready": report.map(|report| &report.exits_until_ready),
                "total": report.map(|report| &report.exits),
            },
            "device_errors": report.map(|report| &report.device_errors),
            "own_memory_kib": report.map(|report| report.own_memory_kib),
            "standing": report.map(|report| &report.standing),
            "log": self.log.iter().map(|record| json!({
                "seq": record.seq,
                "time_ms": millis(record.time),
                "level": record.level,
                "text": record.text,
                "step": self.step_log.get(&record.seq),
            })).collect::<Vec<_>>(),
            "log_lines_dropped": self.log.dropped(),
            "log_lines_lost": self.log.lost(),
            "console": report.map(|report| &report.console_tail),
        })
    }

    fn timing(&self) -> Value {
        json!({
            "build_ms": self.kernel.as_ref().map(|kernel| millis(kernel.build)),
            "preflight_ms": self.preflight.map(millis),
            "boot_to_agent_ms": self.booted.as_ref().map(|booted| millis(booted.ready)),
            "files_ms": self.booted.as_ref().map(|booted| millis(booted.files)),
            "vmm_setup_ms": self.booted.as_ref().map(|booted| millis(booted.setup)),
            "run_ms": self.report.as_ref().map(|report| millis(report.ran)),
        })
    }
}

/// How the guest came to be up.
pub(crate) fn start(booted: &Booted) -> Value {
    let mut start = match &booted.start {
        Start::Booted { saved } => json!({ "from": "boot", "saved_as": saved }),
        Start::Saved { name, cold } => json!({ "from": "saved", "machine": name, "cold_ms": millis(*cold) }),
        Start::Back { name, cold, reset } => json!({
            "from": "reset",
            "machine": name,
            "cold_ms": millis(*cold),
            "pages": reset.pages,
            "looking_ms": millis(reset.looking),
            "copying_ms": millis(reset.copying),
            "state_ms": millis(reset.state),
        }),
    };
    start["notes"] = json!(booted.notes);
    start
}

impl Reporter for Json {
    fn event(&mut self, judged: &Judged) -> io::Result<()> {
        match judged {
            Judged::Began(began) => {
                self.steps.clone_from(&began.steps);
                self.began = Some(began.clone());
            }
            Judged::Host(host) => self.host = Some(host.clone()),
            Judged::Kernel(kernel) => self.kernel = Some(kernel.clone()),
            Judged::Modules(builds, took) => {
                self.builds.clone_from(builds);
                self.preflight = Some(*took);
            }
            Judged::Booted(booted) => self.booted = Some(booted.clone()),
            Judged::Step(step) => {
                if let Some(place) = self.steps.get_mut(step.index) {
                    place.clone_from(step);
                }
                if self.steps.len() > MANY && self.written.is_some_and(|written| written.elapsed() < PAUSE) {
                    return Ok(());
                }
            }
            Judged::Ended(report) => {
                self.steps.clone_from(&report.steps);
                self.report = Some((**report).clone());
            }
            Judged::Log(record, step) => {
                if let Some(step) = step {
                    self.step_log.insert(record.seq, *step);
                    // As many as the log can hold.
                    if self.step_log.len() > 5000 {
                        self.step_log.pop_first();
                    }
                }
                self.log.push(record);
                return Ok(());
            }
            Judged::Call(name, seen) => {
                if self.trace.len() < MOST_CALLS {
                    self.trace.push(traced(name, seen));
                } else {
                    self.untold += 1;
                }
                return Ok(());
            }
            Judged::StepBegan(_) | Judged::Console(_) => return Ok(()),
        }
        self.write()
    }
}

/// In words, a line each.
fn lines(all: &[impl std::fmt::Display]) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

fn build(build: &Build) -> Value {
    json!({
        "source": build.source.display().to_string(),
        "modules": build.modules,
        "cached": build.cached,
        "warnings": build.warnings,
    })
}

pub(crate) fn step(step: &JudgedStep) -> Value {
    let mut object = Map::new();
    object.insert("name".into(), json!(step.title));
    object.insert("verdict".into(), json!(step.verdict.to_string()));
    object.insert("line".into(), json!(step.line));
    object.insert("took_ms".into(), json!(step.took.map(millis)));
    if let Some(why) = &step.why {
        object.insert("why".into(), json!(why));
    }
    if let Some(result) = &step.result {
        if let Some(value) = result.value {
            object.insert("returned".into(), json!(value));
        }
        if let Some(errno) = &result.errno {
            object.insert("errno".into(), json!(errno));
        }
        if let Some(exit) = result.exit {
            object.insert("exit".into(), json!(exit));
        }
        // Every value fits into 64 bits, with or without a sign.
        let number = |value: &i128| match (i64::try_from(*value), u64::try_from(*value)) {
            (Ok(value), _) => json!(value),
            (Err(_), Ok(value)) => json!(value),
            (Err(_), Err(_)) => json!(value.to_string()),
        };
        let values: Map<String, Value> =
            result.values.iter().map(|(name, value)| (name.clone(), number(value))).collect();
        object.insert("values".into(), Value::Object(values));
        for (name, excerpt) in [("output", &result.output), ("stderr", &result.stderr)] {
            let Some(excerpt) = excerpt else { continue };
            object.insert(name.into(), json!(excerpt.text));
            if excerpt.left_out > 0 {
                object.insert(format!("{name}_bytes_left_out"), json!(excerpt.left_out));
            }
            if excerpt.goes_on {
                object.insert(format!("{name}_goes_on"), json!(true));
            }
        }
    }
    if !step.subtests.is_empty() {
        object.insert("subtests".into(), step.subtests.iter().map(subtest).collect());
    }
    if step.verdict.is_bad() {
        object.insert("log".into(), step.log.iter().map(|record| json!(record.text)).collect());
        object.insert("log_lines_left_out".into(), json!(step.log_left_out));
    }
    if step.is_done() {
        object.insert("expectations".into(), json!(step.expectations));
        object.insert("failures".into(), step.failures.iter().map(failure).collect());
    }
    Value::Object(object)
}

fn subtest(subtest: &Subtest) -> Value {
    json!({
        "name": subtest.test.name(),
        "verdict": subtest.test.outcome.name(),
        "why": subtest.test.why,
        "in": subtest.place.name(),
        "has_parts": subtest.test.has_parts,
    })
}

fn failure(failure: &Failure) -> Value {
    json!({
        "what": failure.what,
        "expected": failure.expected,
        "got": failure.got,
        "line": failure.line,
    })
}

/// The finding as `vmm splat --json` writes it, and what the run makes of it.
pub(crate) fn finding(finding: &Finding) -> Value {
    let mut value = serde_json::to_value(&finding.splat).unwrap_or_default();
    if let Value::Object(object) = &mut value {
        // Lines are counted for the search alone: the log below has its own numbers.
        object.remove("lines");
        object.insert("gravity".into(), json!(finding.gravity.name()));
        object.insert("step".into(), json!(finding.step));
        object.insert("count".into(), json!(finding.count));
        object.insert("expected".into(), json!(finding.excuse == Some(Excuse::Expected)));
        let allowed = match &finding.excuse {
            Some(Excuse::Allowed(reason)) => Some(reason),
            _ => None,
        };
        object.insert("allowed".into(), json!(allowed));
    }
    value
}

fn taint(taint: &Taint) -> Value {
    let letters = |mask: Option<u64>| mask.map(taint::letters);
    json!({
        "before": taint.before,
        "after": taint.after,
        "letters": letters(taint.after),
        "added": letters(taint.added()),
    })
}

pub(crate) fn call(row: &SyscallRow) -> Value {
    use board::wire::Door;
    let door = match row.door {
        Door::Syscall64 => "syscall64",
        Door::Syscall32 => "syscall32",
        Door::Sysenter => "sysenter",
        Door::Int80 => "int80",
    };
    json!({
        "nr": row.nr,
        "name": row.name,
        "count": row.count(),
        "door": door,
        "by": { "step": row.step, "program": row.program, "agent": row.agent },
        "errors": row.errors,
        "results": row.results.iter().map(|(result, count)| json!({ "value": result, "count": count })).collect::<Vec<_>>(),
        "processes": row.processes.iter().map(|(pid, name, count)| json!({ "pid": pid, "name": name, "count": count })).collect::<Vec<_>>(),
    })
}

fn traced(name: &str, seen: &SeenCall) -> Value {
    json!({
        "name": name,
        "nr": seen.nr,
        "at_ms": millis(seen.at),
        "pid": seen.process.as_ref().map(|(pid, _)| pid),
        "process": seen.process.as_ref().map(|(_, name)| name),
        "args": seen.args,
        "text": trace::call(name, seen),
        "result": seen.result.map(|(value, _)| value),
        "took_ms": seen.result.map(|(_, took)| millis(took)),
    })
}
