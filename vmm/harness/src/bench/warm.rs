//! What it takes until a guest answers: by its boot, from a saved machine, and by going back; and what one more guest costs.

use super::Spread;
use base::text::time as duration;
use engine::event::{Booted, Start};
use std::{fmt::Write as _, fs, io, path::Path, time::Duration};

/// So many files come with one of the scenarios, as large as a module.
const FILES: u32 = 100;
/// In bytes.
const FILE: usize = 20 << 10;

/// The bars.
const WARM: f64 = 1.0 / 10.0;
const RESET: f64 = 1.0 / 30.0;
const COPY: f64 = 2.0;
const FORK_KIB: u64 = 12 << 10;

/// What was measured.
#[derive(Debug, Default)]
pub struct Samples {
    ready: [Vec<Duration>; 3],
    /// Of it, until the guest's first instruction.
    setup: [Vec<Duration>; 3],
    files: Vec<Duration>,
    pages: Vec<u64>,
    looking: Vec<Duration>,
    copying: Vec<Duration>,
    plain: Vec<Duration>,
    state: Vec<Duration>,
    fork_kib: Vec<u64>,
    whole: [Vec<Duration>; 2],
}

/// Writes two scenarios into a folder: one that asks for nothing much, and one that brings files.
///
/// # Errors
/// The folder can't be written.
pub fn scenarios(folder: &Path) -> io::Result<[std::path::PathBuf; 2]> {
    let content = folder.join("content");
    fs::create_dir_all(&content)?;
    for number in 0..FILES {
        fs::write(content.join(format!("{number}.ko")), vec![number as u8; FILE])?;
    }
    let (bare, brings) = (folder.join("bare.yaml"), folder.join("brings.yaml"));
    fs::write(&bare, "name: bare\nsteps:\n  - syscall: getpid\n")?;
    fs::write(&brings, "name: brings\nfiles: {/opt: content}\nsteps:\n  - syscall: getpid\n")?;
    Ok([bare, brings])
}

impl Samples {
    /// A guest was up.
    pub fn up(&mut self, booted: &Booted) {
        let way = match &booted.start {
            Start::Booted { .. } => 0,
            Start::Saved { .. } => 1,
            Start::Back { reset, .. } => {
                // Where everything is compared, times of the whole say nothing.
                if reset.plain > Duration::ZERO {
                    self.pages.push(reset.pages);
                    self.looking.push(reset.looking);
                    self.copying.push(reset.copying);
                    self.plain.push(reset.plain);
                    self.state.push(reset.state);
                    return;
                }
                2
            }
        };
        self.ready[way].push(booted.ready);
        self.setup[way].push(booted.setup);
    }

    /// One that brings files took so long for them.
    pub fn brought(&mut self, took: Duration) {
        self.files.push(took);
    }

    /// An idle machine that started from a saved one had so much memory, its process and its guest's together.
    pub fn fork(&mut self, kib: u64) {
        self.fork_kib.push(kib);
    }

    /// A whole process, cold or warm.
    pub fn whole(&mut self, cold: bool, took: Duration) {
        self.whole[usize::from(!cold)].push(took);
    }

    /// As a table, with what was demanded.
    pub fn table(&self, host: &str) -> String {
        let mut text = format!("until a guest answers, in turns, on {host}\n");
        _ = writeln!(text, "{:<44}{:>10}{:>10}{:>10}", "", "min", "median", "max");
        let mut line = |name: &str, times: &[Duration]| {
            let spread = Spread::of(times.iter().copied())?;
            let [min, median, max] = [spread.min, spread.median, spread.max].map(duration);
            _ = writeln!(text, "{name:<44}{min:>10}{median:>10}{max:>10}");
            Some(spread.median)
        };
        let cold = line("boot to hello", &self.ready[0]);
        line("  of it until the first instruction", &self.setup[0]);
        let warm = line("start from a saved machine to first answer", &self.ready[1]);
        line("  of it until the guest goes on", &self.setup[1]);
        let reset = line("reset to first answer", &self.ready[2]);
        line(&format!("{FILES} files of {} KiB into the guest", FILE >> 10), &self.files);
        line("reset: finding written pages", &self.looking);
        line("reset: copying them back", &self.copying);
        // The memory's part is both.
        let both = self.looking.iter().zip(&self.copying).map(|(looking, copying)| *looking + *copying);
        let memory = Spread::of(both).map(|spread| spread.median);
        let plain = line("as many pages, by memcpy", &self.plain);
        line("reset: processors, chips, devices", &self.state);
        let whole =
            [line("vmm run --cold hello.yaml", &self.whole[0]), line("vmm run hello.yaml", &self.whole[1])];
        if let Some(pages) = Spread::of(self.pages.iter().copied()) {
            _ = writeln!(
                text,
                "pages written until a reset: {} to {}, median {}",
                pages.min, pages.max, pages.median
            );
        }
        let mut bar = |name: &str, part: Option<Duration>, of: Option<Duration>, most: f64| {
            let (Some(part), Some(of)) = (part, of) else { return };
            let ratio = part.as_secs_f64() / of.as_secs_f64().max(f64::MIN_POSITIVE);
            let held = if ratio <= most { "as demanded" } else { "more than demanded" };
            _ = writeln!(text, "{name}: {ratio:.3} at the median ({held}: {most:.3})");
        };
        bar("a start, of a boot", warm, cold, WARM);
        bar("a reset, of a boot", reset, cold, RESET);
        bar("finding and copying back, of memcpy", memory, plain, COPY);
        bar("vmm run, warm of cold", whole[1], whole[0], 1.0);
        if let Some(fork) = Spread::of(self.fork_kib.iter().copied()) {
            let held = if fork.median < FORK_KIB { "as demanded" } else { "more than demanded" };
            _ = writeln!(text, "one more idle guest: {:.1} MiB ({held})", fork.median as f64 / 1024.0);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use board::wire::Reset;

    fn booted(ready: u64, start: Start) -> Booted {
        let (ready, release) = (Duration::from_millis(ready), String::new());
        Booted {
            ready,
            setup: ready,
            files: ready,
            exits: 1,
            release,
            not_trapping: None,
            start,
            notes: vec![],
        }
    }

    #[test]
    fn each_figure_is_held_against_its_bar() {
        let mut samples = Samples::default();
        let (name, cold) = ("0123456".to_owned(), Duration::from_secs(1));
        for ready in [1000, 1200, 900] {
            samples.up(&booted(ready, Start::Booted { saved: None }));
            samples.up(&booted(ready / 20, Start::Saved { name: name.clone(), cold }));
            samples
                .up(&booted(ready / 20, Start::Back { name: name.clone(), cold, reset: Reset::default() }));
        }
        let (copying, plain) = (Duration::from_micros(300), Duration::from_micros(200));
        let reset = Reset { pages: 400, copying, plain, ..Reset::default() };
        samples.up(&booted(5000, Start::Back { name, cold, reset }));
        samples.fork(20 << 10);
        let text = samples.table("a host");
        for line in [
            "a start, of a boot: 0.050 at the median (as demanded: 0.100)",
            "a reset, of a boot: 0.050 at the median (more than demanded: 0.033)",
            "finding and copying back, of memcpy: 1.500 at the median (as demanded: 2.000)",
            "pages written until a reset: 400 to 400, median 400",
            "one more idle guest: 20.0 MiB (more than demanded)",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("5.00 s"), "{text}");
    }

    #[test]
    fn the_scenarios_can_be_read() {
        let folder = tempfile::tempdir().unwrap();
        for path in scenarios(folder.path()).unwrap() {
            assert!(scenario::load(&path).is_ok());
        }
    }
}
