//! Tables of function names, and a fast look whether a name is in one.
//!
//! `foo` is one function, `foo*` all that begin so, `*foo` all that end so, `*foo*` all that hold it, `foo*bar` all that begin and end so.
//! Leading underscores do not count, on either side: `__foo` and `_foo` do foo's work.

use std::collections::HashSet;

/// A group of functions and why they are in its table.
pub struct Group {
    #[allow(dead_code, reason = "for the reader of the table; the test demands that it is there")]
    pub why: &'static str,
    pub names: &'static [&'static str],
}

/// A table that was made ready for looking up.
pub struct Names {
    exact: HashSet<&'static str>,
    /// Sorted, and none begins with another: of those up to a name only the last can be its beginning.
    prefixes: Vec<&'static str>,
    suffixes: HashSet<&'static str>,
    /// The length of the longest of them, so that a long name costs no more than a short one.
    longest_suffix: usize,
    inner: Vec<&'static str>,
    ends: Vec<(&'static str, &'static str)>,
}

impl Names {
    pub fn new(tables: &[&'static [Group]]) -> Self {
        let mut names = Self {
            exact: HashSet::new(),
            prefixes: Vec::new(),
            suffixes: HashSet::new(),
            longest_suffix: 0,
            inner: Vec::new(),
            ends: Vec::new(),
        };
        for name in tables.iter().copied().flatten().flat_map(|group| group.names) {
            let name = name.trim_start_matches('_');
            match name.split_once('*') {
                None => _ = names.exact.insert(name),
                Some((start, "")) => names.prefixes.push(start),
                Some(("", end)) => match end.strip_suffix('*') {
                    Some(inner) => names.inner.push(inner),
                    None => _ = names.suffixes.insert(end),
                },
                Some(ends) => names.ends.push(ends),
            }
        }
        names.longest_suffix = names.suffixes.iter().map(|suffix| suffix.len()).max().unwrap_or(0);
        names.prefixes.sort_unstable();
        names.prefixes.dedup_by(|later, kept| later.starts_with(*kept));
        names
    }

    pub fn has(&self, function: &str) -> bool {
        let name = function.trim_start_matches('_');
        let starts = || {
            let after = self.prefixes.partition_point(|prefix| *prefix <= name);
            after.checked_sub(1).is_some_and(|last| name.starts_with(self.prefixes[last]))
        };
        let ends = |start: usize| name.get(start..).is_some_and(|end| self.suffixes.contains(end));
        let latest = name.len().saturating_sub(self.longest_suffix);
        self.exact.contains(name)
            || starts()
            || (latest..name.len()).any(ends)
            || self.inner.iter().any(|inner| name.contains(inner))
            || self.ends.iter().any(|(start, end)| {
                name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_name_is_looked_up() {
        static TABLE: &[Group] = &[Group {
            why: "test",
            names: &["one", "pre*", "*_post", "*mid*", "a*z", "__under", "pre_more*", "pra*"],
        }];
        let names = Names::new(&[TABLE]);
        for yes in [
            "one",
            "__one",
            "pre",
            "prefix",
            "x_post",
            "amidst",
            "a_to_z",
            "under",
            "_under",
            "pre_z",
            "pre_more_z",
        ] {
            assert!(names.has(yes), "{yes}");
        }
        for no in ["", "one_more", "none", "xpre", "post", "az_not", "a", "mi"] {
            assert!(!names.has(no), "{no}");
        }
    }
}
