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
    prefixes: HashSet<&'static str>,
    longest_prefix: usize,
    suffixes: HashSet<&'static str>,
    inner: Vec<&'static str>,
    ends: Vec<(&'static str, &'static str)>,
}

impl Names {
    pub fn new(tables: &[&'static [Group]]) -> Self {
        let mut names = Self {
            exact: HashSet::new(),
            prefixes: HashSet::new(),
            longest_prefix: 0,
            suffixes: HashSet::new(),
            inner: Vec::new(),
            ends: Vec::new(),
        };
        for name in tables.iter().copied().flatten().flat_map(|group| group.names) {
            let name = name.trim_start_matches('_');
            match name.split_once('*') {
                None => _ = names.exact.insert(name),
                Some((start, "")) => _ = names.prefixes.insert(start),
                Some(("", end)) => match end.strip_suffix('*') {
                    Some(inner) => names.inner.push(inner),
                    None => _ = names.suffixes.insert(end),
                },
                Some(ends) => names.ends.push(ends),
            }
        }
        names.longest_prefix = names.prefixes.iter().map(|name| name.len()).max().unwrap_or(0);
        names
    }

    pub fn has(&self, function: &str) -> bool {
        let name = function.trim_start_matches('_');
        let starts = |end: usize| name.get(..end).is_some_and(|start| self.prefixes.contains(start));
        let ends = |start: usize| name.get(start..).is_some_and(|end| self.suffixes.contains(end));
        self.exact.contains(name)
            || (1..=name.len().min(self.longest_prefix)).any(starts)
            || !self.suffixes.is_empty() && (0..name.len()).any(ends)
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
        static TABLE: &[Group] =
            &[Group { why: "test", names: &["one", "pre*", "*_post", "*mid*", "a*z", "__under"] }];
        let names = Names::new(&[TABLE]);
        for yes in ["one", "__one", "pre", "prefix", "x_post", "amidst", "a_to_z", "under", "_under"] {
            assert!(names.has(yes), "{yes}");
        }
        for no in ["", "one_more", "none", "xpre", "post", "az_not", "a", "mi"] {
            assert!(!names.has(no), "{no}");
        }
    }
}
