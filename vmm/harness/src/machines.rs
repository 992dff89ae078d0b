//! The saved machines that the cache has: which they are, and which may go.

use base::cache::{self, Cache, CacheError, Kind};
use board::{saved, wire::About};
use std::{
    cmp::Reverse,
    fs,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    time::{Duration, SystemTime},
};

/// A file of an entry: its time of change is when the machine was last started from.
const USED: &str = "used";

/// A saved machine.
#[derive(Clone, Debug)]
pub struct Saved {
    /// 32 hexadecimal digits.
    pub key: String,
    /// Where it is.
    pub path: PathBuf,
    /// What it is, or why that can't be said.
    pub about: Result<About, String>,
    /// On disk, in bytes: zero pages take none.
    pub size: u64,
    /// When it was last made or started from.
    pub used: SystemTime,
}

/// All of them, the most recently used one first. Those that live in emulated hosts are not among them.
///
/// # Errors
/// The cache can't be read.
pub fn list(cache: &Cache) -> Result<Vec<Saved>, CacheError> {
    // One in the making has a name that begins with a dot.
    let keys = cache.keys(Kind::Machine)?.into_iter().filter(|key| !key.starts_with('.'));
    let mut list: Vec<Saved> = keys.map(|key| look(cache.place(Kind::Machine, &key), key)).collect();
    list.sort_by_key(|machine| Reverse(machine.used));
    Ok(list)
}

fn look(path: PathBuf, key: String) -> Saved {
    let files = || fs::read_dir(&path).into_iter().flatten().flatten();
    // stat counts in units of 512 bytes (stat(2), st_blocks).
    let size = files().filter_map(|file| file.metadata().ok()).map(|meta| meta.blocks() * 512).sum();
    let changed = |path: PathBuf| fs::metadata(path).and_then(|meta| meta.modified()).ok();
    let used = changed(path.join(USED)).or_else(|| changed(path.clone())).unwrap_or(SystemTime::UNIX_EPOCH);
    Saved {
        about: saved::read(&path).map(|saved| saved.about).map_err(|unfit| unfit.why),
        key,
        size,
        used,
        path,
    }
}

/// The one whose name begins like this.
///
/// # Errors
/// There is none, or there are several: in words.
pub fn find(cache: &Cache, begins: &str) -> Result<Saved, String> {
    let mut all = list(cache).map_err(|error| format!("failed to {error}"))?;
    all.retain(|machine| machine.key.starts_with(begins));
    match all.len() {
        1 => Ok(all.remove(0)),
        0 => {
            Err(format!("there is no saved machine {begins}; `vmm machine list` shows those that there are"))
        }
        n => Err(format!("{n} saved machines begin with {begins}: give more digits")),
    }
}

/// Of `list` (the most recently used one first) those that go: all but so many, and of these only what was not used for
/// so long. Without a limit that is none.
pub fn choose(list: Vec<Saved>, keep: Option<usize>, older: Option<Duration>) -> Vec<Saved> {
    if keep.is_none() && older.is_none() {
        return Vec::new();
    }
    let now = SystemTime::now();
    let old =
        |machine: &Saved| older.is_none_or(|age| now.duration_since(machine.used).unwrap_or_default() >= age);
    list.into_iter().skip(keep.unwrap_or(0)).filter(old).collect()
}

/// Those of kernels that are not in the cache any more, or not for long; and those of which nothing is known.
///
/// # Errors
/// The cache can't be read.
pub fn of_kernels(cache: &Cache, kernels: &[String]) -> Result<Vec<Saved>, CacheError> {
    let gone = |machine: &Saved| match &machine.about {
        Ok(about) => kernels.contains(&about.kernel),
        Err(_) => true,
    };
    Ok(list(cache)?.into_iter().filter(gone).collect())
}

/// Removes what was left of machines that nobody makes any more.
pub fn sweep(cache: &Cache) {
    if let Some(folder) = cache.place(Kind::Machine, "any").parent() {
        saved::sweep(folder);
    }
}

/// Removes them. A guest that runs from one of them has its memory mapped, and keeps it.
///
/// # Errors
/// The first that can't be removed.
pub fn remove(machines: &[Saved]) -> Result<(), CacheError> {
    machines.iter().try_for_each(|machine| cache::remove(&machine.path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(key: &str, hours: u64) -> Saved {
        let used = SystemTime::now() - Duration::from_secs(hours * 3600);
        let about = Ok(About { kernel: key.to_owned(), ..About::default() });
        Saved { key: key.to_owned(), path: PathBuf::new(), about, size: 0, used }
    }

    #[test]
    fn what_goes_is_old_and_not_among_the_newest() {
        let goes = |keep, hours: Option<u64>| -> Vec<String> {
            let list = vec![machine("a", 1), machine("b", 10), machine("c", 100)];
            let older = hours.map(|hours| Duration::from_secs(hours * 3600));
            choose(list, keep, older).into_iter().map(|machine| machine.key).collect()
        };
        assert_eq!(goes(None, None), [""; 0]);
        assert_eq!(goes(Some(1), None), ["b", "c"]);
        assert_eq!(goes(None, Some(5)), ["b", "c"]);
        assert_eq!(goes(Some(2), Some(5)), ["c"]);
    }

    #[test]
    fn a_damaged_one_is_listed_with_the_reason_and_goes_with_any_kernel() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::at(root.path()).unwrap();
        let folder = cache.place(Kind::Machine, "0123");
        fs::create_dir_all(&folder).unwrap();
        fs::create_dir_all(cache.place(Kind::Machine, ".making-x")).unwrap();
        fs::write(folder.join("state"), "rubbish").unwrap();
        let all = list(&cache).unwrap();
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].about, Err("its state is no state of a machine".to_owned()));
        assert_eq!(find(&cache, "01").unwrap().key, "0123");
        assert!(find(&cache, "x").unwrap_err().contains("no saved machine x"));
        remove(&of_kernels(&cache, &[]).unwrap()).unwrap();
        assert!(list(&cache).unwrap().is_empty());
    }
}
