//! `tags:` of a scenario: words by which runs of many choose.

use super::node::Node;
use super::reader::Reader;

impl Reader<'_> {
    /// Reads them.
    pub fn tags(&mut self, node: &Node) -> Option<Vec<String>> {
        let items = self.items(node, "tags, like `[slow, io]`")?;
        let mut tags = Vec::new();
        for item in items {
            // A comma stands between tags on the command line.
            let is_tag = |text: &&str| {
                !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.'))
            };
            match item.text().filter(is_tag) {
                Some(tag) => tags.push(tag.to_owned()),
                None => _ = self.expected::<()>(item, "a tag: letters, digits, `-`, `_` and `.`"),
            }
        }
        Some(tags)
    }
}

#[cfg(test)]
mod tests {
    use crate::fixture::{scenario, try_load};

    const STEPS: &str = "steps:\n- sleep: 1 s\n";

    #[test]
    fn tags_are_words_and_a_matrix_is_a_list_of_kernels() {
        let tags = |text: &str| scenario(&format!("tags: {text}\n{STEPS}")).tags;
        assert_eq!(
            (tags("[slow, io-2]"), tags("one"), tags("[]")),
            (vec!["slow".to_owned(), "io-2".into()], vec!["one".into()], vec![])
        );
        let both = scenario(&format!("matrix: [6.12, {{fragments: [kasan]}}]\n{STEPS}")).matrix;
        assert_eq!(
            (both[0].kernel.as_deref(), &both[1].fragments),
            (Some("6.12"), &vec!["kasan".to_owned()])
        );
        for (text, expected) in [
            ("tags: [a b]\n", "expected a tag"),
            ("tags: {a: b}\n", "expected tags"),
            ("matrix: 6.12\n", "a list of kernels"),
            ("matrix: []\n", "a list of kernels"),
            ("kernel: 6.12\nmatrix: [7.3]\n", "exclude each other"),
        ] {
            let error = try_load(format!("{text}{STEPS}").as_bytes()).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
