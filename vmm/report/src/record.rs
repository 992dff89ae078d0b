//! What reporters that write a whole file remember of the runs so far.

use judge::{Began, Build, Judged, JudgedStep, Kernel, RunReport, Verdict};
use std::time::Duration;

/// All scenarios of a session: those that ended, the one that runs, and those that wait.
#[derive(Clone, Debug, Default)]
pub struct Session {
    /// In the order in which they run.
    pub runs: Vec<Run>,
    /// Which of them runs, or ran last.
    current: Option<usize>,
}

/// One scenario.
#[derive(Clone, Debug)]
pub struct Run {
    /// What was to be done.
    pub began: Began,
    /// Where, and why there.
    pub host: Option<String>,
    /// The kernel, once it was found.
    pub kernel: Option<Kernel>,
    /// The modules.
    pub builds: Vec<Build>,
    /// All steps, as far as they came.
    pub steps: Vec<JudgedStep>,
    /// The end, once there is one.
    pub report: Option<RunReport>,
}

impl Session {
    /// Before anything runs.
    pub fn planned(all: &[Began]) -> Self {
        let run = |began: &Began| Run {
            began: began.clone(),
            host: None,
            kernel: None,
            builds: Vec::new(),
            steps: began.steps.clone(),
            report: None,
        };
        Self { runs: all.iter().map(run).collect(), current: None }
    }

    /// Takes what happened. Returns whether there is something new for a file.
    pub fn event(&mut self, judged: &Judged) -> bool {
        if let Judged::Began(began) = judged {
            let next = self.current.map_or(0, |current| current + 1);
            if self.runs.len() <= next {
                self.runs.extend(Self::planned(std::slice::from_ref(began)).runs);
            }
            self.current = Some(next);
            return true;
        }
        let Some(run) = self.current.and_then(|current| self.runs.get_mut(current)) else { return false };
        match judged {
            Judged::Host(host) => run.host = Some(host.clone()),
            Judged::Kernel(kernel) => run.kernel = Some(kernel.clone()),
            Judged::Modules(builds, _) => run.builds.clone_from(builds),
            Judged::Step(step) => {
                if let Some(place) = run.steps.get_mut(step.index) {
                    place.clone_from(step);
                }
            }
            Judged::Ended(report) => {
                run.steps.clone_from(&report.steps);
                run.report = Some((**report).clone());
            }
            _ => return false,
        }
        true
    }
}

impl Run {
    /// The verdict; a run without an end was cut off, or not begun.
    pub fn verdict(&self) -> Option<Verdict> {
        self.report.as_ref().map(|report| report.verdict)
    }

    /// The verdict in a word.
    pub fn word(&self) -> &'static str {
        self.verdict().map_or("not-run", Verdict::name)
    }

    /// Why it did not pass, in one line.
    pub fn reason(&self) -> String {
        match &self.report {
            Some(report) => report.reason.to_string().lines().map(str::trim).collect::<Vec<_>>().join(" "),
            None => "the run was cut off before its end, or did not begin".to_owned(),
        }
    }

    /// The guest's time from the agent's hello to the end.
    pub fn ran(&self) -> Duration {
        self.report.as_ref().map_or(Duration::ZERO, |report| report.ran)
    }

    /// What a step is called, the same in every run: its title has its result, too.
    pub fn name(&self, step: &JudgedStep) -> String {
        let began = self.began.steps.get(step.index).unwrap_or(step);
        format!("{}: {}", step.index + 1, began.title)
    }

    /// The scenario's file, as the user named it.
    pub fn path(&self) -> String {
        self.began.path.display().to_string()
    }
}
