//! An assignment as typed values. Whatever can be wrong with its file is found before one of these exists.

mod read;

use crate::points::Points;
use base::wanted::Wanted;
use regex::Regex;
use scenario::{Draw, Settings};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::PathBuf, time::Duration};

/// What students are to do, and what it is worth.
#[derive(Clone, Debug)]
pub struct Assignment {
    /// The file, as the user named it.
    pub path: PathBuf,
    /// Its `name`, or the file's folder's.
    pub name: String,
    /// For people.
    pub title: String,
    /// The kernel.
    pub kernel: Wanted,
    /// What is handed in.
    pub kind: Kind,
    /// Which files of a submission count.
    pub files: Vec<String>,
    /// Files that are the teacher's, whatever is handed in: name in the module's folder, and content.
    pub teacher: Vec<(String, String)>,
    /// How names of submissions are read.
    pub attempts: Option<Regex>,
    /// What the scenarios' parameters are, for each submission, where a test has none of its own.
    pub params: Vec<(String, Origin)>,
    /// Parameters of single students, which go before.
    pub table: BTreeMap<String, BTreeMap<String, String>>,
    /// What is tested.
    pub tests: Vec<Test>,
    /// What is deducted.
    pub penalties: Penalties,
    /// What a submission may take.
    pub limits: Limits,
    /// What a student sees of a failure.
    pub show: Show,
    /// What counts of two runs that differ.
    pub unstable: Rule,
    /// Test data is drawn from it.
    pub seed: String,
    /// What `vmm grade check` takes.
    pub check: Check,
    /// A hash of all that the assignment is made of.
    pub identity: String,
}

/// How an assignment has source read: plain data, for the process that does it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Rules {
    /// As [`Assignment::files`].
    pub files: Vec<String>,
    /// As [`Assignment::teacher`].
    pub teacher: Vec<(String, String)>,
    /// What has no MODULE_LICENSE gets one.
    pub mends_license: bool,
    /// What is handed in.
    pub kind: Kind,
}

/// What is handed in.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub enum Kind {
    /// A loadable module.
    Module,
    /// Patches for the kernel.
    Patch,
    /// Files of the kernel's source, as they shall be.
    Kernel,
    /// New system calls for the kernel; old ones, without SYSCALL_DEFINE, may be wrapped.
    Syscall(Vec<Slot>, OldStyle),
}

/// A system call that is asked for.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Slot {
    /// Its name, without `sys_`.
    pub name: String,
    /// The number that it has in the assignment's kernel.
    pub number: u32,
    /// Its parameters' types, where students have no choice.
    pub prototype: Option<Vec<String>>,
}

/// What becomes of `asmlinkage long sys_name(...)`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub enum OldStyle {
    /// It is wrapped.
    Wrapped,
    /// The student is told what to write.
    Refused,
}

/// Where a parameter's value comes from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// The folder with what was handed in.
    Folder,
    /// The module's name.
    Module,
    /// The name that the driver registers, as its source says.
    Device,
    /// The major that the driver registers, as its source says; 0 for one that the kernel chooses.
    Major,
    /// The first group of this expression, somewhere in the source.
    Source(Regex),
    /// The same for everybody.
    Fixed(String),
    /// Drawn anew for each student.
    Draw(Draw),
}

/// A scenario, and what it is worth. It has a machine of its own.
#[derive(Clone, Debug)]
pub struct Test {
    /// For people; no other test has it.
    pub name: String,
    /// The file.
    pub scenario: PathBuf,
    /// Parameters of its own, which go before the assignment's and the table's.
    pub params: Vec<(String, Origin)>,
    /// A hash of the files that it brings.
    pub brings: String,
    /// What it is worth.
    pub award: Award,
    /// Who sees it.
    pub visibility: Visibility,
    /// Said to a student who fails it.
    pub hint: Option<String>,
}

/// What a test's points are for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Award {
    /// For a run that passes, and nothing for another one.
    Whole(Points),
    /// For single steps by their names, and for what is expected of the whole run.
    Parts {
        /// Each for itself.
        steps: Vec<(String, Points)>,
        /// No finding, no hang, and the run's own expectations hold.
        run: Points,
    },
}

impl Award {
    /// The same, with steps called as they are where the scenario's parameters have these values.
    pub fn with_values(&self, values: &Settings) -> Self {
        let mut award = self.clone();
        if let Self::Parts { steps, .. } = &mut award {
            steps.iter_mut().for_each(|(name, _)| *name = scenario::with_values(name, values));
        }
        award
    }

    /// All of it.
    pub fn points(&self) -> Points {
        match self {
            Self::Whole(points) => *points,
            Self::Parts { steps, run } => steps.iter().map(|(_, points)| *points).sum::<Points>() + *run,
        }
    }
}

/// Who sees a test. The names are Gradescope's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// The student, at once.
    Visible,
    /// The student, once nothing can be handed in any more.
    AfterDueDate,
    /// The teacher.
    Hidden,
}

impl Visibility {
    /// As Gradescope writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Visible => "visible",
            Self::AfterDueDate => "after_due_date",
            Self::Hidden => "hidden",
        }
    }
}

/// What is deducted, once for all tests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Penalties {
    /// For each warning of the compiler, and the most in all.
    pub warnings: Option<(Points, Points)>,
    /// The kernel complained, or killed a task.
    pub splat: Option<Points>,
    /// Something stayed behind.
    pub leak: Option<Points>,
    /// The kernel's taint was not as it should be.
    pub taint: Option<Points>,
    /// There is no MODULE_LICENSE. With this, it is mended; without it, nothing is built.
    pub license: Option<Points>,
}

/// What a submission may take.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Files, unpacked.
    pub files: usize,
    /// Bytes, unpacked.
    pub bytes: u64,
    /// For building.
    pub build: Duration,
    /// For all tests of a student.
    pub run: Duration,
}

/// What a student sees of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// Expected and got, the log, the finding.
    Everything,
    /// Which test, and its hint.
    Names,
}

/// What counts of two runs that differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The better one.
    Best,
    /// The worse one.
    Worst,
}

/// What `vmm grade check` takes.
#[derive(Clone, Debug, Default)]
pub struct Check {
    /// Gets all points.
    pub reference: Option<PathBuf>,
    /// What students begin with, and the most that it may get.
    pub starter: Option<(PathBuf, Points)>,
    /// Wrong solutions, and what is written beside them.
    pub bad: Vec<Bad>,
}

/// A wrong solution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bad {
    /// A folder, or a patch against the reference.
    pub path: PathBuf,
    /// What it gets.
    pub points: Points,
    /// The tests of which it does not get all points; all others it does.
    pub fails: Vec<String>,
    /// Stands somewhere on the student's page.
    pub says: Option<String>,
}

impl Assignment {
    /// How source is read.
    pub fn rules(&self) -> Rules {
        Rules {
            files: self.files.clone(),
            teacher: self.teacher.clone(),
            mends_license: self.penalties.license.is_some(),
            kind: self.kind.clone(),
        }
    }

    /// All points that can be had.
    pub fn points(&self) -> Points {
        self.tests.iter().map(|test| test.award.points()).sum()
    }
}
