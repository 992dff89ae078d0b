//! A report read again: for merging, comparing and showing.
//!
//! Others may have written to the file: what is missing or of another kind is an error that names its place, or nothing where
//! a report can do without.

use super::SCHEMA;
use crate::record::{Aborted, Run, Session, Shard};
use board::wire::{Door, LogRecord, Reset};
use engine::event::{Booted, Start};
use judge::{
    Attempt, Began, BoundedLog, Build, Excerpt, Excuse, Failure, Finding, Gravity, JudgedStep, Kernel,
    Outcome, Place, Quarantined, Reason, RunReport, Settled, StepResult, StepVerdict, Subtest, SyscallRow,
    Taint, Then, Verdict,
};
use scenario::Settings;
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, time::Duration};

/// Why a file is no report that can be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is no JSON.
    #[error("it is no JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// It is JSON of another kind.
    #[error("it is no report of vmm: {0}")]
    Other(String),
    /// It was written by another version.
    #[error("it has the schema {0}, and this vmm reads {SCHEMA}: write it again with this version")]
    Version(u64),
}

type Result<T> = std::result::Result<T, ReadError>;

/// Reads what [`super::render`] wrote.
///
/// # Errors
/// It is something else.
pub fn read(text: &str) -> Result<Session> {
    let value: Value = serde_json::from_str(text)?;
    let schema = value["schema"].as_u64().ok_or_else(|| other("the field `schema` is missing"))?;
    if schema != u64::from(SCHEMA) {
        return Err(ReadError::Version(schema));
    }
    let runs = list(&value, "scenarios")?.iter().map(run).collect::<Result<Vec<Run>>>()?;
    let shard = match &value["shard"] {
        Value::Null => None,
        shard => Some(part(shard)?),
    };
    let finished = value["finished"].as_bool().ok_or_else(|| other("the field `finished` is missing"))?;
    let mut session = Session::planned(&[]);
    (session.runs, session.shard, session.finished) = (runs, shard, finished);
    if let (false, Some(reason)) = (finished, value["reason"].as_str()) {
        session.aborted =
            Some(Aborted { verdict: verdict(&text_of(&value, "verdict")?)?, reason: reason.to_owned() });
    }
    Ok(session)
}

fn part(value: &Value) -> Result<Shard> {
    let shard = Shard {
        index: small(value, "index")?,
        of: small(value, "of")?,
        plan: text_of(value, "plan")?,
        run: value["run"].as_str().map(str::to_owned),
    };
    match (1..=shard.of).contains(&shard.index) {
        true => Ok(shard),
        false => Err(other(format!("there is no shard {} of {}", shard.index, shard.of))),
    }
}

fn other(why: impl Into<String>) -> ReadError {
    ReadError::Other(why.into())
}

fn list<'v>(value: &'v Value, field: &str) -> Result<&'v Vec<Value>> {
    value[field].as_array().ok_or_else(|| other(format!("`{field}` is no list")))
}

fn text_of(value: &Value, field: &str) -> Result<String> {
    Ok(value[field].as_str().ok_or_else(|| other(format!("`{field}` is no text")))?.to_owned())
}

fn number(value: &Value, field: &str) -> Result<u64> {
    value[field].as_u64().ok_or_else(|| other(format!("`{field}` is no number")))
}

/// A number of a type that does not hold all of them.
fn small<T: TryFrom<u64>>(value: &Value, field: &str) -> Result<T> {
    T::try_from(number(value, field)?).map_err(|_| other(format!("`{field}` is too large")))
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn drawn(value: &Value) -> Settings {
    let values = value.as_object().into_iter().flatten();
    values.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

fn duration(value: &Value) -> Option<Duration> {
    Duration::try_from_secs_f64(value.as_f64()? / 1e3).ok()
}

fn counts(value: &Value) -> BTreeMap<String, u64> {
    let entries = value.as_object().into_iter().flatten();
    entries.filter_map(|(name, count)| Some((name.clone(), count.as_u64()?))).collect()
}

fn run(value: &Value) -> Result<Run> {
    let steps: Vec<JudgedStep> = list(value, "steps")?.iter().enumerate().map(step).collect::<Result<_>>()?;
    let planned = steps.iter().zip(list(value, "steps")?).map(|(step, value)| JudgedStep {
        title: value["what"].as_str().unwrap_or(&step.title).to_owned(),
        verdict: StepVerdict::NotRun,
        ..step.clone()
    });
    let scenario = &value["scenario"];
    let mut run = Run::planned(&Began {
        scenario: text_of(scenario, "name")?,
        path: text_of(scenario, "path")?.into(),
        variant: text_of(value, "variant")?,
        attempt: 1,
        notes: texts(&scenario["warnings"]),
        drawn: drawn(&scenario["drawn"]),
        steps: planned.collect(),
    });
    let word = text_of(value, "verdict")?;
    run.begun = word != "not-run";
    run.steps.clone_from(&steps);
    run.host = value["host"].as_str().map(str::to_owned);
    let kernel = &value["kernel"];
    run.kernel = kernel["hash"].as_str().map(|hash| Kernel {
        release: kernel["release"].as_str().map(str::to_owned),
        hash: hash.to_owned(),
        cached: kernel["cached"] == true,
        build: duration(&value["timing"]["build_ms"]).unwrap_or_default(),
        warnings: texts(&kernel["warnings"]),
    });
    run.builds = list(value, "builds")?.iter().map(build).collect::<Result<_>>()?;
    run.preflight = duration(&value["timing"]["preflight_ms"]);
    run.booted = duration(&value["timing"]["boot_to_agent_ms"]).map(|ready| Booted {
        ready,
        setup: duration(&value["timing"]["vmm_setup_ms"]).unwrap_or_default(),
        exits: counts(&value["exits"]["until_ready"]).values().sum(),
        release: kernel["release"].as_str().unwrap_or_default().to_owned(),
        not_trapping: value["not_counted_because"].as_str().map(str::to_owned),
        files: duration(&value["timing"]["files_ms"]).unwrap_or_default(),
        start: start(&value["start"]),
        notes: texts(&value["start"]["notes"]),
    });
    for line in list(value, "log")? {
        let record = record(line)?;
        run.step_log.extend(line["step"].as_u64().map(|step| (record.seq, step as usize)));
        run.log.push(&record);
    }
    // A run without an end has none of what an end brings.
    if value["timing"]["run_ms"].is_null() {
        return Ok(run);
    }
    let report = report(value, &run, steps, verdict(&word)?)?;
    let attempts = list(value, "attempts")?.iter().map(attempt).collect::<Result<Vec<_>>>()?;
    if !attempts.is_empty() {
        let quarantined = known(&value["quarantined"])?;
        let counted = match value["counted"].as_str() {
            Some(word) => verdict(word)?,
            None if quarantined.is_some() => Verdict::Pass,
            None => report.verdict,
        };
        run.settled = Some(Settled { verdict: report.verdict, attempts, quarantined, counted });
    }
    run.report = Some(report);
    Ok(run)
}

fn start(value: &Value) -> Start {
    let time = |name: &str| duration(&value[name]).unwrap_or_default();
    let (name, cold) = (value["machine"].as_str().unwrap_or_default().to_owned(), time("cold_ms"));
    match value["from"].as_str() {
        Some("saved") => Start::Saved { name, cold },
        Some("reset") => Start::Back {
            name,
            cold,
            reset: Reset {
                pages: value["pages"].as_u64().unwrap_or(0),
                looking: time("looking_ms"),
                copying: time("copying_ms"),
                state: time("state_ms"),
                ..Reset::default()
            },
        },
        _ => Start::Booted { saved: value["saved_as"].as_str().map(str::to_owned) },
    }
}

fn verdict(word: &str) -> Result<Verdict> {
    Verdict::named(word).ok_or_else(|| other(format!("there is no verdict `{word}`")))
}

fn report(value: &Value, run: &Run, steps: Vec<JudgedStep>, verdict: Verdict) -> Result<RunReport> {
    let reason = match value["reason"].as_str() {
        None | Some("") => Reason::None,
        Some(reason) => Reason::Told(reason.to_owned()),
    };
    let taint = &value["taint"];
    let tail: Vec<LogRecord> = match verdict {
        Verdict::Pass | Verdict::Fail | Verdict::BuildFailed | Verdict::Splat => Vec::new(),
        _ => BoundedLog::newest(&run.log, 20),
    };
    Ok(RunReport {
        verdict,
        reason,
        scenario: run.began.scenario.clone(),
        path: run.began.path.clone(),
        steps,
        failures: list(value, "failures")?.iter().map(failure).collect::<Result<_>>()?,
        expectations: value["expectations"].as_u64().unwrap_or(0) as usize,
        subtests: list(value, "subtests")?.iter().map(subtest).collect::<Result<_>>()?,
        findings: list(value, "findings")?.iter().map(finding).collect::<Result<_>>()?,
        // Only their words were written.
        unknown: Vec::new(),
        taint: Taint { before: taint["before"].as_u64(), after: taint["after"].as_u64() },
        syscalls: list(value, "syscalls")?.iter().map(call).collect::<Result<_>>()?,
        tampered: Vec::new(),
        entry_writes: Vec::new(),
        not_trapping: value["not_counted_because"].as_str().map(str::to_owned),
        exits_until_ready: counts(&value["exits"]["until_ready"]),
        exits: counts(&value["exits"]["total"]),
        device_errors: counts(&value["device_errors"]),
        own_memory_kib: value["own_memory_kib"].as_u64().unwrap_or(0),
        standing: texts(&value["standing"]),
        log_tail: tail,
        log_lost: value["log_lines_lost"].as_u64().unwrap_or(0),
        doubt: None,
        console_tail: value["console"].as_str().unwrap_or_default().to_owned(),
        ran: duration(&value["timing"]["run_ms"]).unwrap_or_default(),
    })
}

fn attempt(value: &Value) -> Result<Attempt> {
    let then = text_of(value, "then")?;
    let then = [Then::Counts, Then::Retried, Then::FreshHost].into_iter().find(|it| it.name() == then);
    Ok(Attempt {
        verdict: verdict(&text_of(value, "verdict")?)?,
        reason: Reason::Told(text_of(value, "reason")?),
        ran: duration(&value["run_ms"]).unwrap_or_default(),
        then: then.ok_or_else(|| other("`then` of an attempt is none that is known"))?,
        known: known(&value["quarantined"])?,
    })
}

fn known(value: &Value) -> Result<Option<Quarantined>> {
    if value.is_null() { Ok(None) } else { Ok(Some(serde_json::from_value(value.clone())?)) }
}

fn build(value: &Value) -> Result<Build> {
    Ok(Build {
        source: text_of(value, "source")?.into(),
        modules: texts(&value["modules"]),
        files: Vec::new(),
        cached: value["cached"] == true,
        warnings: texts(&value["warnings"]),
    })
}

fn record(value: &Value) -> Result<LogRecord> {
    Ok(LogRecord {
        seq: number(value, "seq")?,
        time: duration(&value["time_ms"]).unwrap_or_default(),
        level: small(value, "level")?,
        text: text_of(value, "text")?,
        user: value["user"] == true,
        caller: None,
    })
}

fn step((index, value): (usize, &Value)) -> Result<JudgedStep> {
    let word = text_of(value, "verdict")?;
    let all = [
        StepVerdict::Pass,
        StepVerdict::Fail,
        StepVerdict::Timeout,
        StepVerdict::Skipped,
        StepVerdict::NotRun,
    ];
    let verdict = all.into_iter().find(|it| it.to_string() == word);
    let excerpt = |name: &str| {
        value[name].as_str().map(|text| Excerpt {
            text: text.to_owned(),
            left_out: value[format!("{name}_bytes_left_out")].as_u64().unwrap_or(0),
            goes_on: value[format!("{name}_goes_on")] == true,
        })
    };
    let named = value["values"].as_object().map(|values| {
        let one = |(name, value): (&String, &Value)| {
            let number = value.as_i64().map(i128::from).or(value.as_u64().map(i128::from));
            Some((name.clone(), number.or_else(|| value.as_str()?.parse().ok())?))
        };
        values.iter().filter_map(one).collect()
    });
    let result = named.map(|values| StepResult {
        value: value["returned"].as_i64(),
        errno: value["errno"].as_str().map(str::to_owned),
        exit: value["exit"].as_i64().and_then(|code| code.try_into().ok()),
        values,
        output: excerpt("output"),
        stderr: excerpt("stderr"),
    });
    let line =
        |text: String| LogRecord { seq: 0, time: Duration::ZERO, level: 6, text, user: false, caller: None };
    Ok(JudgedStep {
        index,
        title: text_of(value, "name")?,
        line: number(value, "line")? as usize,
        user: value["user"].as_u64().and_then(|user| u32::try_from(user).ok()),
        verdict: verdict.ok_or_else(|| other(format!("there is no verdict `{word}` of a step")))?,
        why: value["why"].as_str().map(str::to_owned),
        result,
        took: duration(&value["took_ms"]),
        failures: value["failures"].as_array().into_iter().flatten().map(failure).collect::<Result<_>>()?,
        expectations: value["expectations"].as_u64().unwrap_or(0) as usize,
        subtests: value["subtests"].as_array().into_iter().flatten().map(subtest).collect::<Result<_>>()?,
        log: texts(&value["log"]).into_iter().map(line).collect(),
        log_left_out: value["log_lines_left_out"].as_u64().unwrap_or(0),
    })
}

fn failure(value: &Value) -> Result<Failure> {
    Ok(Failure {
        what: text_of(value, "what")?,
        expected: text_of(value, "expected")?,
        got: text_of(value, "got")?,
        line: number(value, "line")? as usize,
    })
}

fn subtest(value: &Value) -> Result<Subtest> {
    let word = text_of(value, "verdict")?;
    let all = [Outcome::Passed, Outcome::Failed, Outcome::Skipped, Outcome::ExpectedFailure];
    let outcome = all.into_iter().find(|it| it.name() == word);
    let place = if value["in"] == Place::Log.name() { Place::Log } else { Place::Output };
    let test = ktap::Test {
        path: text_of(value, "name")?.split(" / ").map(str::to_owned).collect(),
        outcome: outcome.ok_or_else(|| other(format!("there is no result `{word}` of a test")))?,
        why: value["why"].as_str().map(str::to_owned),
        has_parts: value["has_parts"] == true,
    };
    Ok(Subtest { test, place })
}

fn finding(value: &Value) -> Result<Finding> {
    let word = text_of(value, "gravity")?;
    let all = [Gravity::Harmless, Gravity::Splat, Gravity::Oops, Gravity::Panic];
    let mut splat: Map<String, Value> = value.as_object().cloned().unwrap_or_default();
    splat.insert("lines".into(), json!({ "first": 0, "last": 0 }));
    let allowed = value["allowed"].as_str().map(|reason| Excuse::Allowed(reason.to_owned()));
    Ok(Finding {
        splat: serde_json::from_value(Value::Object(splat))?,
        gravity: all
            .into_iter()
            .find(|it| it.name() == word)
            .ok_or_else(|| other(format!("there is no gravity `{word}`")))?,
        step: value["step"].as_u64().map(|step| step as usize),
        count: number(value, "count")?,
        excuse: if value["expected"] == true { Some(Excuse::Expected) } else { allowed },
    })
}

fn call(value: &Value) -> Result<SyscallRow> {
    let by = &value["by"];
    let door = match value["door"].as_str() {
        Some("syscall32") => Door::Syscall32,
        Some("sysenter") => Door::Sysenter,
        Some("int80") => Door::Int80,
        _ => Door::Syscall64,
    };
    let results = value["results"].as_array().into_iter().flatten();
    let processes = value["processes"].as_array().into_iter().flatten();
    Ok(SyscallRow {
        door,
        nr: number(value, "nr")?,
        name: text_of(value, "name")?,
        step: number(by, "step")?,
        program: number(by, "program")?,
        agent: number(by, "agent")?,
        errors: counts(&value["errors"]),
        results: results.filter_map(|it| Some((it["value"].as_i64()?, it["count"].as_u64()?))).collect(),
        processes: processes
            .filter_map(|it| {
                let pid = it["pid"].as_u64()?.try_into().ok()?;
                Some((pid, it["name"].as_str()?.to_owned(), it["count"].as_u64()?))
            })
            .collect(),
        untold_errors: 0,
        untold_results: 0,
    })
}
