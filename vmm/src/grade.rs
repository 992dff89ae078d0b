//! `vmm grade`: what students handed in, graded.

use crate::{cli::Where, exit, say};
use base::interrupt;
use clap::{Args, Subcommand};
use grade::{Assignment, Graded, Grading, Points, Record, State, Whose};
use harness::Abort;
use judge::Verdict;
use std::path::{Path, PathBuf};

/// Grade what students handed in.
///
/// SUBMISSIONS is a folder with a folder, a .zip or a .tar.gz for each student, as LMS exports have them. Every test runs on a
/// fresh machine. What is this machine's fault is tried again, and costs nobody a point. A grading that was stopped goes on
/// where it was; only what changed is graded again.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_long_help = "\
Examples:
  vmm grade pa2/assignment.yaml submissions/
  vmm grade pa2/assignment.yaml submissions/ --only s042 --verbose
  vmm grade pa2/assignment.yaml submissions/ --shard 3/8 --out shard-3
  vmm grade pa2/assignment.yaml submission/ --student s042 --at-least 50
  vmm grade check pa2/assignment.yaml --mutants 20
  vmm grade merge pa2/assignment.yaml shard-* --out all

Exits with 0 if all submissions were graded, whatever they got, with 1 if somebody has fewer points than --at-least says, with 2 if the
assignment has a mistake, and with 3 if one could not be graded."
)]
pub struct GradeArgs {
    #[command(subcommand)]
    command: Option<GradeCommand>,
    /// The assignment, in YAML
    #[arg(required = true, value_name = "ASSIGNMENT")]
    assignment: Option<PathBuf>,
    /// A folder with what was handed in
    #[arg(required = true, value_name = "SUBMISSIONS")]
    submissions: Option<PathBuf>,
    /// SUBMISSIONS is this one student's, who may see what is printed; grades of others in --out stay
    #[arg(long, value_name = "NAME", conflicts_with_all = ["only", "shard"],
        value_parser = clap::builder::NonEmptyStringValueParser::new())]
    student: Option<String>,
    /// Grade these students only; as often as you like
    #[arg(long, value_name = "STUDENT")]
    only: Vec<String>,
    /// Grade only this part of the submissions
    #[arg(long, value_name = "K/N", value_parser = shard)]
    shard: Option<(usize, usize)>,
    /// Fail if somebody who is graded has fewer points
    #[arg(long, value_name = "POINTS", value_parser = Points::parse)]
    at_least: Option<Points>,
    /// Where grades and pages are written; a later start goes on there
    #[arg(long, value_name = "DIR", default_value = "grades")]
    out: PathBuf,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, Args)]
struct How {
    /// So many submissions at once
    #[arg(long, short, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: u8,
    /// Where guests run
    #[arg(long, value_enum, default_value_t = Where::Auto)]
    host: Where,
    /// Print each student's page: the teacher's, with --student the student's
    #[arg(long, short)]
    verbose: bool,
    /// Let students see the tests that are marked `after-due-date`
    #[arg(long)]
    after_due_date: bool,
}

impl GradeArgs {
    /// A student alone is one of a class, whose other grades may lie in the same folder.
    fn grading(&self) -> Grading {
        let only = self.student.iter().chain(&self.only).cloned().collect();
        Grading { only, shard: self.shard, ..self.how.grading(&self.out, Whose::Students) }
    }
}

impl How {
    /// All of these, by default.
    fn grading(&self, out: &Path, whose: Whose) -> Grading {
        Grading {
            host: self.host.into(),
            jobs: self.jobs.into(),
            only: Vec::new(),
            shard: None,
            out: out.to_owned(),
            whose,
            remarks: Vec::new(),
            is_due: self.after_due_date,
        }
    }
}

#[derive(Debug, Subcommand)]
enum GradeCommand {
    /// Say whether an assignment is sound
    ///
    /// Grades the solutions that its `check:` names: the reference has to get all points, the starter none beyond what it deserves,
    /// and each bad solution what is written beside it. Exits with 1 if something is not so.
    Check {
        /// The assignment, in YAML
        #[arg(value_name = "ASSIGNMENT")]
        assignment: PathBuf,
        /// Only these solutions, by name; as often as you like
        #[arg(long, value_name = "SOLUTION")]
        only: Vec<String>,
        /// Also make so many wrong versions of the reference, and say which get all points
        #[arg(long, value_name = "N", default_value_t = 0)]
        mutants: usize,
        /// Where grades and pages are written; never the folder of a class's grades
        #[arg(long, value_name = "DIR", default_value = "grades-check")]
        out: PathBuf,
        #[command(flatten)]
        how: How,
    },
    /// Put the grades of several shards together
    Merge {
        /// The assignment, in YAML
        #[arg(value_name = "ASSIGNMENT")]
        assignment: PathBuf,
        /// Folders that `vmm grade --out` wrote
        #[arg(required = true, value_name = "DIR")]
        folders: Vec<PathBuf>,
        /// Where grades and pages are written
        #[arg(long, value_name = "DIR", default_value = "grades")]
        out: PathBuf,
        /// Let students see the tests that are marked `after-due-date`
        #[arg(long)]
        after_due_date: bool,
    },
}

/// Does it; returns the exit code.
pub fn grade(args: GradeArgs) -> u8 {
    match args.command {
        Some(GradeCommand::Merge { assignment, folders, out, after_due_date }) => {
            let how = How { jobs: 1, host: Where::Auto, verbose: false, after_due_date };
            done(merge(&assignment, &folders, &how.grading(&out, Whose::Students)))
        }
        Some(GradeCommand::Check { assignment, only, mutants, out, how }) => {
            let grading = Grading { only, ..how.grading(&out, Whose::Solutions) };
            done(check(&assignment, &grading, mutants, &how))
        }
        None => {
            let grading = args.grading();
            let GradeArgs { assignment, submissions, student, at_least, how, .. } = args;
            let (Some(assignment), Some(submissions)) = (assignment, submissions) else {
                unreachable!("clap wants both");
            };
            let least = at_least.unwrap_or_default();
            done(all(&assignment, &submissions, student.as_deref(), least, grading, &how))
        }
    }
}

fn all(
    assignment: &Path,
    submissions: &Path,
    student: Option<&str>,
    least: Points,
    grading: Grading,
    how: &How,
) -> Result<Verdict, Abort> {
    let assignment = load(assignment)?;
    if least > assignment.points() {
        let why = format!("--at-least: {} points can be had, and not {least}", assignment.points());
        return Err(Abort::input(why));
    }
    let (entries, remarks) = match student {
        Some(student) => (vec![grade::single(submissions, student)], Vec::new()),
        None => {
            let listing = grade::list(submissions, assignment.attempts.as_ref(), &grading.out)
                .map_err(|why| Abort::input(format!("failed to {why}")))?;
            let remarks = grade::remarks(&assignment, &listing);
            (listing.entries, remarks)
        }
    };
    for remark in &remarks {
        say::warning(&base::text::escape(remark));
    }
    let grading = Grading { remarks, ..grading };
    let verbose = how.verbose;
    let tell = |record: &Record, kept: bool| {
        say::out(&line(record, kept, student.is_some()));
        if verbose {
            say::out(&grade::page(&assignment, record, student.is_some(), how.after_due_date));
        }
    };
    let graded = for_eyes_of(student, grade::all(&assignment, entries, &grading, &tell)?);
    if graded.stopped || interrupt::requested() {
        graded.left_out.iter().for_each(|it| say::warning(&base::text::escape(it)));
        return Err(Abort::interrupted());
    }
    graded.left_out.iter().for_each(|it| say::warning(&base::text::escape(it)));
    say::out(&summary(&graded.records, graded.kept, &grading.out));
    let below = below(&graded.records, least, &grading.only);
    if !below.is_empty() {
        say::out(&format!("fewer than {least} points: {}\n", base::text::escape(&below.join(", "))));
    }
    Ok(match verdict(&graded.records) {
        Verdict::Pass if !below.is_empty() => Verdict::Fail,
        verdict => verdict,
    })
}

/// Who has fewer points, of those who were asked for, or of all. Those of who was not graded are not known.
fn below<'a>(records: &'a [Record], least: Points, only: &[String]) -> Vec<&'a str> {
    let asked = |record: &&Record| only.is_empty() || only.contains(&record.student);
    let below = |record: &&Record| record.state != State::NotGraded && record.points < least;
    records.iter().filter(asked).filter(below).map(|record| &*record.student).collect()
}

/// Of the folder's grades those that concern this student, who sees what is printed, and of the tests those that are shown; without one, all.
fn for_eyes_of(student: Option<&str>, mut graded: Graded) -> Graded {
    if let Some(student) = student {
        graded.records.retain(|record| record.student == student);
        graded.records.iter_mut().for_each(|record| record.tests.retain(grade::is_shown));
        graded.left_out.clear();
    }
    graded
}

fn check(assignment: &Path, grading: &Grading, mutants: usize, how: &How) -> Result<Verdict, Abort> {
    let assignment = load(assignment)?;
    let checked = grade::check(&assignment, grading, mutants, &teller(&assignment, how))?;
    if checked.stopped || interrupt::requested() {
        return Err(Abort::interrupted());
    }
    let problems: String =
        checked.problems.iter().map(|it| format!("problem: {}\n", base::text::escape(it))).collect();
    let survivors = checked.survivors.iter();
    let survivors: String = survivors.map(|it| format!("survives: {}\n", base::text::escape(it))).collect();
    let made = match checked.mutants {
        0 => String::new(),
        1 => "1 wrong version of the reference was graded\n".to_owned(),
        many => format!("{many} wrong versions of the reference were graded\n"),
    };
    say::out(&format!("\n{problems}{made}{survivors}"));
    Ok(match (verdict(&checked.records), checked.problems.len()) {
        (Verdict::Pass, 0) => {
            say::out("the assignment is sound, as far as its solutions show\n");
            Verdict::Pass
        }
        (Verdict::Pass, _) => Verdict::Fail,
        (other, _) => other,
    })
}

/// Shows each student as it is done.
fn teller<'a>(assignment: &'a Assignment, how: &'a How) -> impl Fn(&Record, bool) + Sync + 'a {
    |record: &Record, kept: bool| {
        say::out(&line(record, kept, false));
        if how.verbose {
            say::out(&grade::page(assignment, record, false, how.after_due_date));
        }
    }
}

fn merge(assignment: &Path, folders: &[PathBuf], grading: &Grading) -> Result<Verdict, Abort> {
    let records = grade::merge(&load(assignment)?, folders, grading)?;
    say::out(&summary(&records, 0, &grading.out));
    Ok(verdict(&records))
}

fn load(path: &Path) -> Result<Assignment, Abort> {
    Assignment::load(path).map_err(|errors| Abort::input(errors.to_string()))
}

fn done(result: Result<Verdict, Abort>) -> u8 {
    match result {
        Ok(verdict) => exit::code(verdict),
        Err(abort) => say::outcome(Err(abort)),
    }
}

/// Whatever students got, a grading went well; unless somebody was not graded.
fn verdict(records: &[Record]) -> Verdict {
    let failed = records.iter().any(|record| record.state == State::NotGraded);
    if failed { Verdict::Infra } else { Verdict::Pass }
}

/// What came of a student; where the student reads it, nothing of tests that are hidden, neither their points nor their time.
fn line(record: &Record, kept: bool, is_theirs: bool) -> String {
    let student = base::text::escape(&record.student);
    if is_theirs && record.tests.iter().any(|test| !grade::is_shown(test)) {
        return format!("{student:<24} {}\n", record.state.name());
    }
    let how = match kept {
        true => "as before".to_owned(),
        false => format!("{:.1} s", record.took_ms as f64 / 1000.0),
    };
    let why = record.why.as_ref().and_then(|why| why.lines().next()).map(base::text::escape);
    let why = why.map_or(String::new(), |why| format!("  {why}"));
    match record.state {
        State::NotGraded => format!("{student:<24} not graded ({how}){why}\n"),
        _ => {
            let tampered = if record.is_tampered() { "  tampered" } else { "" };
            format!("{student:<24} {:>6} of {} ({how}){tampered}{why}\n", record.points, record.of)
        }
    }
}

fn summary(records: &[Record], kept: usize, out: &Path) -> String {
    let count = |state: State| records.iter().filter(|record| record.state == state).count();
    let unstable = records.iter().filter(|it| it.tests.iter().any(|test| test.other.is_some())).count();
    let tampered = records.iter().filter(|it| it.is_tampered()).count();
    let mut parts = vec![format!("{} graded", count(State::Graded))];
    for (number, what) in [
        (tampered, "tampered"),
        (count(State::Unusable), "unusable"),
        (count(State::NotGraded), "not graded"),
        (unstable, "unstable"),
        (kept, "as before"),
    ] {
        parts.extend((number > 0).then(|| format!("{number} {what}")));
    }
    let out = base::text::escape(&out.display().to_string());
    let students = if records.len() == 1 { "student" } else { "students" };
    format!("\n{} {students}: {}; see {out}/index.html\n", records.len(), parts.join(", "))
}

fn shard(text: &str) -> Result<(usize, usize), String> {
    let parts = text.split_once('/').and_then(|(shard, of)| Some((shard.parse().ok()?, of.parse().ok()?)));
    match parts {
        Some((shard, of)) if 1 <= shard && shard <= of => Ok((shard, of)),
        _ => Err("expected K/N with K from 1 to N, such as 3/8".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn args(line: &str) -> Option<GradeArgs> {
        match Cli::try_parse_from(line.split(' ')).ok()?.command {
            Command::Grade(args) => Some(args),
            other => panic!("{other:?}"),
        }
    }

    fn record(student: &str, state: &str, points: u32) -> Record {
        serde_json::from_value(serde_json::json!({
            "key": "", "assignment": {"name": "", "identity": ""}, "student": student, "state": state,
            "why": null, "notes": [], "params": {}, "build": {"errors": null, "warnings": [], "took_ms": 0},
            "tests": [], "penalties": [], "points": points * 100, "of": 1000, "took_ms": 0
        }))
        .unwrap()
    }

    #[test]
    fn who_has_fewer_points_than_are_asked_for_is_told() {
        let least = |line: &str| args(line).unwrap().at_least;
        let five = least("vmm grade a.yaml s --student eve --at-least 5").unwrap();
        assert!(five == Points::parse("5").unwrap() && least("vmm grade a.yaml s").is_none());
        assert!(args("vmm grade a.yaml s --at-least many").is_none());
        let records = [
            record("bob", "graded", 5),
            record("dan", "not-graded", 0),
            record("eve", "graded", 4),
            record("may", "unusable", 0),
        ];
        assert_eq!(below(&records, five, &[]), ["eve", "may"]);
        assert_eq!(below(&records, five, &["may".to_owned()]), ["may"]);
        assert!(below(&records, Points::default(), &[]).is_empty(), "nobody asked for any");
    }

    #[test]
    fn who_forged_results_is_told_from_who_has_few_points() {
        let run = |verdict: &str| {
            serde_json::json!({
                "verdict": verdict, "reason": "", "points": 0, "parts": [], "steps": [], "failures": [], "findings": [], "standing": [],
                "log": [], "took_ms": 1
            })
        };
        let tested = |verdict: &str, visibility: &str| {
            let mut record = record("eve", "graded", 4);
            let test = serde_json::json!({
                "name": "io", "visibility": visibility, "hint": null, "points": 0, "of": 10, "run": run(verdict), "other": null,
                "not_graded": null
            });
            record.tests.push(serde_json::from_value(test).unwrap());
            record
        };
        let out = Path::new("grades");
        let (forged, failed) = (tested("tampered", "visible"), tested("fail", "visible"));
        assert!(line(&forged, false, false).contains(" 4 of 10 (0.0 s)  tampered"));
        assert!(!line(&failed, false, false).contains("tampered"));
        assert!(summary(&[forged, failed], 0, out).contains("2 students: 2 graded, 1 tampered; see"));
        // The student hears nothing of tests that are hidden.
        let hidden = tested("tampered", "hidden");
        assert!(!line(&hidden, false, true).contains("tampered"));
        let graded = Graded { records: vec![hidden], kept: 0, stopped: false, left_out: Vec::new() };
        assert!(!summary(&for_eyes_of(Some("eve"), graded).records, 0, out).contains("tampered"));
    }

    #[test]
    fn one_student_alone_takes_nobody_out_of_the_tables_and_sees_nobody_in_them() {
        let one = args("vmm grade a.yaml s --student eve").unwrap();
        assert_eq!(one.grading().only, ["eve"]);
        assert_eq!(args("vmm grade a.yaml s --only eve").unwrap().grading().only, ["eve"]);
        assert!(args("vmm grade a.yaml s").unwrap().grading().only.is_empty());
        assert!(args("vmm grade a.yaml s --student eve --only bob").is_none());
        let graded = || Graded {
            records: ["bob", "eve"].map(|student| record(student, "not-graded", 0)).into(),
            kept: 0,
            stopped: false,
            left_out: vec!["bob".to_owned()],
        };
        let seen = for_eyes_of(Some("eve"), graded());
        assert_eq!((seen.records.len(), &*seen.records[0].student, seen.left_out.len()), (1, "eve", 0));
        assert_eq!(for_eyes_of(None, graded()).records.len(), 2);
    }
}
