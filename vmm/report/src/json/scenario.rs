//! One scenario's run as an object.

use crate::{record::Run, trace};
use base::taint;
use board::wire::SeenCall;
use engine::event::{Booted, Start};
use judge::{Attempt, Build, Excuse, Failure, Finding, JudgedStep, Subtest, SyscallRow, Taint};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// All that is known of it. One that was not begun has its steps, and one without an end is this machine's fault.
pub(super) fn object(run: &Run) -> Value {
    let report = run.report.as_ref();
    let cut_off = || match run.begun {
        true => ("infra", "the run was cut off before its end".to_owned()),
        false => ("not-run", "the run did not begin".to_owned()),
    };
    let (verdict, reason) = match (run.verdict(), report) {
        (Some(verdict), Some(report)) => (verdict.name(), report.reason.to_string()),
        _ => cut_off(),
    };
    let kernel = run.kernel.as_ref().map(|kernel| {
        json!({
            "release": kernel.release,
            "hash": kernel.hash,
            "cached": kernel.cached,
            "warnings": kernel.warnings,
        })
    });
    let rows = report.map_or(&[][..], |report| &report.syscalls);
    let settled = run.settled.as_ref();
    let attempts = settled.map_or(&run.earlier[..], |settled| &settled.attempts);
    json!({
        "verdict": verdict,
        "reason": reason,
        "scenario": {
            "name": run.began.scenario,
            "path": run.began.path.display().to_string(),
            "warnings": run.began.notes,
            "drawn": run.began.drawn,
        },
        "counted": run.counted().name(),
        "variant": run.began.variant,
        "flaky": settled.is_some_and(|settled| settled.is_flaky()),
        "quarantined": settled.and_then(|settled| settled.quarantined.as_ref()),
        "attempts": attempts.iter().map(attempt).collect::<Vec<_>>(),
        "host": run.host,
        "kernel": kernel,
        "builds": run.builds.iter().map(build).collect::<Vec<_>>(),
        "steps": run.steps.iter().map(|it| {
            let mut value = step(it);
            // Its title has its result, too; this is the same in every run.
            value["what"] = json!(run.began.steps.get(it.index).unwrap_or(it).title);
            value
        }).collect::<Vec<_>>(),
        "failures": report.map_or(&[][..], |report| &report.failures).iter().map(failure).collect::<Vec<_>>(),
        "expectations": report.map(|report| report.expectations),
        "subtests": report.map_or(&[][..], |report| &report.subtests).iter().map(subtest).collect::<Vec<_>>(),
        "findings": report.map_or(&[][..], |report| &report.findings).iter().map(finding).collect::<Vec<_>>(),
        "taint": report.map(|report| taint(&report.taint)),
        "syscalls": rows.iter().map(call).collect::<Vec<_>>(),
        "tampered": report.map(|report| lines(&report.tampered)),
        "entry_writes": report.map(|report| lines(&report.entry_writes)),
        "not_known": report.map(|report| lines(&report.unknown)),
        "trace": run.trace.iter().map(|(name, seen)| traced(name, seen)).collect::<Vec<_>>(),
        "trace_calls_dropped": run.untold,
        "not_counted_because": run.booted.as_ref().and_then(|booted| booted.not_trapping.clone()),
        "start": run.booted.as_ref().map(start),
        "timing": {
            "build_ms": run.kernel.as_ref().map(|kernel| millis(kernel.build)),
            "preflight_ms": run.preflight.map(millis),
            "boot_to_agent_ms": run.booted.as_ref().map(|booted| millis(booted.ready)),
            "files_ms": run.booted.as_ref().map(|booted| millis(booted.files)),
            "vmm_setup_ms": run.booted.as_ref().map(|booted| millis(booted.setup)),
            "run_ms": report.map(|report| millis(report.ran)),
        },
        "exits": {
            "until_ready": report.map(|report| &report.exits_until_ready),
            "total": report.map(|report| &report.exits),
        },
        "device_errors": report.map(|report| &report.device_errors),
        "own_memory_kib": report.map(|report| report.own_memory_kib),
        "standing": report.map(|report| &report.standing),
        "log": run.log.iter().map(|record| json!({
            "seq": record.seq,
            "time_ms": millis(record.time),
            "level": record.level,
            "text": record.text,
            "user": record.user,
            "step": run.step_log.get(&record.seq),
        })).collect::<Vec<_>>(),
        "log_lines_dropped": run.log.dropped(),
        "log_lines_lost": run.log.lost(),
        "console": report.map(|report| &report.console_tail),
    })
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

fn attempt(attempt: &Attempt) -> Value {
    json!({
        "verdict": attempt.verdict.name(),
        "reason": attempt.reason.to_string(),
        "run_ms": millis(attempt.ran),
        "then": attempt.then.name(),
        "quarantined": attempt.known,
    })
}

/// In words, a line each.
fn lines(all: &[impl std::fmt::Display]) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}

pub(crate) fn millis(time: Duration) -> f64 {
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
    if let Some(user) = step.user {
        object.insert("user".into(), json!(user));
    }
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
