//! What a module's makefiles say, as far as it can be told without make.

use regex::Regex;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

/// A makefile that the kernel's build system reads.
pub const MAKEFILES: [&str; 2] = ["Kbuild", "Makefile"];

/// Nobody writes more of a makefile by hand, in bytes.
const LONGEST_MAKEFILE: usize = 256 << 10;

/// What is known of a makefile.
pub struct Makefile {
    /// Its words, for a file that is named anywhere.
    words: BTreeSet<String>,
    /// The objects of its lists, without their endings, by the lists' names.
    lists: BTreeMap<String, BTreeSet<String>>,
}

impl Makefile {
    /// Of a makefile's text.
    pub fn read(text: &str) -> Self {
        static LIST: LazyLock<Regex> = LazyLock::new(|| {
            Regex::new(r"(?m)^\s*([^\s:+?=#]+)\s*[+:?]?=\s*([^#\n]*)").expect("a constant that tests use")
        });
        let text = expanded(&text.replace("\\\n", " "));
        let words = text.split(|c: char| c.is_whitespace() || c == '=').map(str::to_owned).collect();
        let mut lists: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for line in LIST.captures_iter(&text) {
            let objects = line[2].split_whitespace().filter_map(|word| word.strip_suffix(".o"));
            let objects = objects.filter(|name| !name.contains('$')).map(str::to_owned);
            lists.entry(line[1].to_owned()).or_default().extend(objects);
        }
        Self { words, lists }
    }

    /// The modules that its lines name.
    pub fn objects(&self) -> Vec<String> {
        self.lists.get("obj-m").into_iter().flatten().cloned().collect()
    }

    /// The files that a module is made of, if it is made of several.
    pub fn parts(&self, module: &str) -> BTreeSet<&String> {
        let lists = ["objs", "y"].map(|ending| self.lists.get(&format!("{module}-{ending}")));
        lists.into_iter().flatten().flatten().collect()
    }
}

/// The makefiles that the kernel's build system reads, by their paths.
pub fn makefiles(kept: &BTreeMap<String, Vec<u8>>) -> Result<BTreeMap<String, Makefile>, String> {
    let is_one = |path: &str| MAKEFILES.contains(&path.rsplit('/').next().unwrap_or(path));
    let read = |path: &String| {
        let text = whole(kept, path);
        match text.len() > LONGEST_MAKEFILE {
            true => {
                Err(format!("{path} has more than {} KiB, and no makefile would", LONGEST_MAKEFILE >> 10))
            }
            false => Ok((path.clone(), Makefile::read(&text))),
        }
    };
    kept.keys().filter(|path| is_one(path)).map(read).collect()
}

/// A makefile with those in their places that lie beside it and that it includes, once each.
pub fn whole(kept: &BTreeMap<String, Vec<u8>>, path: &str) -> String {
    static INCLUDE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"(?m)^ *[-s]?include[ \t]+(?:\$[({]\w+[)}]/)?([\w./-]+)[ \t]*$")
            .expect("a constant that tests use")
    });
    let text = |path: &str| kept.get(path).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let folder = path.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
    let mut seen = BTreeSet::new();
    let put = |found: &regex::Captures<'_>| {
        let included = format!("{folder}{}", &found[1]);
        let once = seen.insert(included.clone());
        text(&included).filter(|_| once).unwrap_or_else(|| found[0].to_owned())
    };
    INCLUDE.replace_all(&text(path).unwrap_or_default(), put).into_owned()
}

/// The main files that makefiles build, as modules or as parts of one.
pub fn told(makefiles: &BTreeMap<String, Makefile>) -> BTreeSet<String> {
    let mut told = BTreeSet::new();
    for (path, makefile) in makefiles {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let below = |object: &str| ["c", "rs"].map(|ending| format!("{prefix}{object}.{ending}"));
        for object in &makefile.objects() {
            let parts = makefile.parts(object);
            // With parts, the module's own name is no file's.
            match parts.is_empty() {
                true => told.extend(below(object)),
                false => told.extend(parts.into_iter().flat_map(|it| below(it))),
            }
        }
    }
    told
}

/// A makefile with the values of its plain variables in their places, `$(TARGET).o` and the like.
fn expanded(makefile: &str) -> String {
    static SET: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"(?m)^[ ]*([A-Za-z_]\w*)[ \t]*[:?]?=[ \t]*([^#\n]*)").expect("a constant that tests use")
    });
    static NAMED: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\$\((\w+)\)|\$\{(\w+)\}").expect("a constant that tests use"));
    let values: BTreeMap<&str, &str> = SET
        .captures_iter(makefile)
        .filter_map(|set| Some((set.get(1)?.as_str(), set.get(2)?.as_str().trim())))
        .filter(|(_, value)| value.len() < 200)
        .collect();
    let mut text = makefile.to_owned();
    // One may be made of another.
    for _ in 0..3 {
        let put = |named: &regex::Captures<'_>| {
            let name = named.get(1).or_else(|| named.get(2)).map_or("", |it| it.as_str());
            values.get(name).map_or_else(|| named[0].to_owned(), |value| (*value).to_owned())
        };
        let next = NAMED.replace_all(&text, put).into_owned();
        if next == text || next.len() > 4 * makefile.len() + 4096 {
            break;
        }
        text = next;
    }
    text
}

/// The makefile that builds a file: of its folder, or of one above that names it, with its folder.
pub fn makefile_of<'a>(
    makefiles: &'a BTreeMap<String, Makefile>,
    path: &str,
) -> Option<(String, &'a Makefile)> {
    let own = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let above = own.match_indices('/').map(|(at, _)| &own[..at]).chain([""]);
    let at = |folder: &str| {
        MAKEFILES.iter().find_map(|name| {
            makefiles.get(&if folder.is_empty() { (*name).to_owned() } else { format!("{folder}/{name}") })
        })
    };
    let builds = |folder: &str, makefile: &Makefile| {
        let inside = path.strip_prefix(folder).unwrap_or(path).trim_start_matches('/');
        makefile.words.contains(&format!("{}.o", super::stem(inside)))
    };
    let mut outer: Vec<&str> = above.filter(|folder| *folder != own).collect();
    outer.sort_by_key(|folder| std::cmp::Reverse(folder.len()));
    let named = outer.into_iter().filter_map(|folder| Some((folder, at(folder)?)));
    let mut named = named.filter(|(folder, makefile)| builds(folder, makefile));
    // Its own folder's goes before, if that names a module at all.
    let beside = at(own).filter(|makefile| !makefile.objects().is_empty());
    match beside {
        Some(makefile) => Some((own.to_owned(), makefile)),
        None => named.next().map(|(folder, makefile)| (folder.to_owned(), makefile)),
    }
}
