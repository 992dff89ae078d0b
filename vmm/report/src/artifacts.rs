//! `--artifacts DIR`: for each scenario a folder with everything that somebody needs who looks into a failure elsewhere.

use crate::{
    Reporter, json,
    record::{Run, Session},
};
use base::text::unnamed;
use judge::{Began, Excerpt, Judged, Verdict};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// How a run was asked for, as far as its report does not say it.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// The options by which its kernel was asked for.
    pub kernel: Vec<String>,
    /// The scenario adds to the kernel's configuration by itself, which no kernel takes that is built already.
    pub adds_fragments: bool,
    /// The scenario's text, where that came by a pipe.
    pub piped: Option<String>,
}

/// Writes the folders.
pub struct Artifacts {
    folder: PathBuf,
    session: Session,
    /// Which scenario it is, counted from 1.
    count: usize,
    options: Vec<String>,
    /// For each scenario.
    asked: Vec<Asked>,
}

impl Artifacts {
    /// Below this folder, which is made.
    ///
    /// # Errors
    /// In words, why it can't be.
    pub fn create(folder: &Path) -> Result<Self, String> {
        let cannot = |error: io::Error| format!("can't write artifacts to {}: {error}", folder.display());
        fs::create_dir_all(folder).map_err(cannot)?;
        tempfile::tempdir_in(folder).map_err(|error| cannot(unnamed(error)))?;
        Ok(Self {
            folder: folder.to_owned(),
            session: Session::default(),
            count: 0,
            options: Vec::new(),
            asked: Vec::new(),
        })
    }

    /// The options of the command that change what a run is, and how each was asked for; who repeats it needs them as well.
    #[must_use]
    pub fn with(mut self, options: Vec<String>, asked: Vec<Asked>) -> Self {
        (self.options, self.asked) = (options, asked);
        self
    }

    /// A folder is there whole, or not at all.
    fn write(&self, run: &Run) -> io::Result<()> {
        let stage = tempfile::Builder::new().prefix(".artifacts-").tempdir_in(&self.folder)?;
        let asked = self.asked.get(self.count - 1).cloned().unwrap_or_default();
        fill(stage.path(), run)?;
        write_repeat(stage.path(), run, &self.options, &asked)?;
        fs::set_permissions(stage.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let place = self.folder.join(name(self.count, run));
        if place.exists() {
            fs::remove_dir_all(&place)?;
        }
        fs::rename(stage.keep(), place)
    }
}

impl Reporter for Artifacts {
    fn begin(&mut self, all: &[Began]) -> io::Result<()> {
        self.session = Session::planned(all);
        Ok(())
    }

    fn event(&mut self, judged: &Judged) -> io::Result<()> {
        self.session.event(judged);
        if !matches!(judged, Judged::Settled(_)) {
            return Ok(());
        }
        self.count += 1;
        let Some(run) = self.session.runs.get(self.count - 1) else { return Ok(()) };
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", self.folder.display()));
        self.write(run).map_err(named)
    }
}

/// `003-chardev@7.3`: in the order of the run, and for people.
fn name(count: usize, run: &Run) -> String {
    // A file's name has at most 255 bytes.
    let plain = |text: &str| -> String {
        let mut plain: String =
            text.chars().map(|c| if c.is_alphanumeric() || "._-+".contains(c) { c } else { '_' }).collect();
        plain.truncate((0..=80).rev().find(|at| plain.is_char_boundary(*at)).unwrap_or(0));
        plain
    };
    let variant = match run.began.variant.as_str() {
        "" => String::new(),
        variant => format!("@{}", plain(variant)),
    };
    format!("{count:03}-{}{variant}", plain(&run.began.scenario))
}

fn fill(folder: &Path, run: &Run) -> io::Result<()> {
    let log: String = run
        .log
        .iter()
        .map(|line| format!("<{}>[{:>12.6}] {}\n", line.level, line.time.as_secs_f64(), line.text))
        .collect();
    fs::write(folder.join("kernel.log"), log)?;
    let mut alone = Session::planned(&[]);
    (alone.runs, alone.finished) = (vec![run.clone()], true);
    fs::write(folder.join("report.json"), json::render(&alone))?;
    fs::write(folder.join("verdict"), format!("{}\n{}\n", run.word(), run.reason()))?;
    if let Some(console) = run.report.as_ref().map(|report| &report.console_tail).filter(|it| !it.is_empty())
    {
        fs::write(folder.join("console.txt"), console)?;
    }
    for step in &run.steps {
        let Some(result) = &step.result else { continue };
        for (what, excerpt) in [("out", &result.output), ("err", &result.stderr)] {
            if let Some(Excerpt { text, .. }) = excerpt.as_ref().filter(|excerpt| !excerpt.text.is_empty()) {
                fs::write(folder.join(format!("step-{:02}.{what}", step.index + 1)), text)?;
            }
        }
    }
    if let Some(kernel) = &run.kernel {
        let release = kernel.release.as_deref().unwrap_or("unknown");
        let text = format!("{release}\n{}\n# its files: vmm kernel show {}\n", kernel.hash, kernel.hash);
        fs::write(folder.join("kernel"), text)?;
    }
    let files = run.builds.iter().flat_map(|build| build.modules.iter().zip(&build.files));
    for (module, file) in files.filter(|(_, file)| file.is_file()) {
        fs::create_dir_all(folder.join("modules"))?;
        fs::copy(file, folder.join("modules").join(format!("{module}.ko")))?;
    }
    if run.verdict() == Some(Verdict::BuildFailed)
        && let Some(report) = &run.report
    {
        fs::write(folder.join("build.txt"), report.reason.to_string())?;
    }
    Ok(())
}

/// The command that repeats a run. Elsewhere the kernel is not in the cache by its hash, and is asked for as it was.
fn write_repeat(folder: &Path, run: &Run, options: &[String], asked: &Asked) -> io::Result<()> {
    let words = |all: &[String]| all.iter().map(|word| format!("{} ", quoted(word))).collect::<String>();
    let as_before = format!("set -- {}\"$@\"", words(&asked.kernel));
    let kernel = match run.kernel.as_ref().filter(|_| !asked.adds_fragments) {
        Some(kernel) => format!(
            "if vmm kernel show {0} >/dev/null 2>&1; then\n\tset -- --kernel {0} \"$@\"\nelse\n\t{as_before}\nfi\n",
            quoted(&kernel.hash)
        ),
        None => as_before + "\n",
    };
    // A value that was drawn is given now. What the command gave was not drawn.
    let drawn = run.began.drawn.iter().flat_map(|(name, value)| ["--set".into(), format!("{name}={value}")]);
    let drawn: Vec<String> = drawn.collect();
    let (scenario, input) = match &asked.piped {
        Some(text) => {
            fs::write(folder.join("scenario.yaml"), text)?;
            ("-".to_owned(), " <\"$(dirname \"$0\")/scenario.yaml\"")
        }
        None => (quoted(&run.path()), ""),
    };
    let text = format!(
        "#!/bin/sh\n# The same run again, from the folder where it was started; with its kernel, or where the cache has not got that, with one \
         that is asked for in the same way.\n{kernel}exec vmm run {scenario} {}{}\"$@\"{input}\n",
        words(&drawn),
        words(options)
    );
    let path = folder.join("repeat.sh");
    fs::write(&path, text)?;
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))
}

/// For a shell.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}
