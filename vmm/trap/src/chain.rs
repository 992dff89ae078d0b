//! How far calls have come that take each other's results, by what the kernel returned.

use protocol::{Call, Link};

/// What the links up to the one that is under way returned; `None` for those that were left out.
#[derive(Debug, Default)]
pub struct Chain {
    results: Vec<Option<i64>>,
    /// What the one that is under way has returned so far.
    total: i64,
}

impl Chain {
    /// The call that has to come now, and which link it is of.
    pub fn next(&mut self, links: &[Link]) -> Option<(u16, Call)> {
        while let Some(link) = links.get(self.results.len()) {
            if let Some(call) = link.resolved(&self.results) {
                return Some((u16::try_from(self.results.len()).ok()?, call));
            }
            self.results.push(None);
        }
        None
    }

    /// That call has returned.
    pub fn returned(&mut self, links: &[Link], value: i64) {
        self.total = self.total.saturating_add(value);
        if links.get(self.results.len()).is_none_or(|link| !link.goes_on(value, self.total)) {
            self.results.push(Some(value));
            self.total = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{Arg, Door};

    fn link(nr: u64, args: &[Arg]) -> Link {
        Link { call: Call { door: Door::Syscall64, nr, args: args.to_vec() }, only: None, until: None }
    }

    /// The links and the first arguments of calls that return one after the other what is here.
    fn follow(links: &[Link], returns: &[i64]) -> Vec<(u16, Arg)> {
        let mut chain = Chain::default();
        let mut calls = Vec::new();
        for value in returns {
            let Some((link, call)) = chain.next(links) else { break };
            calls.push((link, call.args.first().cloned().unwrap_or(Arg::Int(0))));
            chain.returned(links, *value);
        }
        calls
    }

    #[test]
    fn what_was_returned_decides_what_comes() {
        let read = Link { until: Some(10), ..link(0, &[Arg::Of(0)]) };
        let links = [link(2, &[Arg::Int(7)]), read, link(3, &[Arg::Of(0)])];
        let three = Arg::Int(3);
        let whole = [(0, Arg::Int(7)), (1, three.clone()), (1, three.clone()), (2, three.clone())];
        assert_eq!(follow(&links, &[3, 4, 0, 0, 9, 9]), whole, "to its end");
        assert_eq!(follow(&links, &[3, 4, 6, 0, 9, 9]), whole, "to the limit");
        assert_eq!(follow(&links, &[-2, 9, 9, 9]), whole[..1], "what takes its result is left out");
        assert_eq!(follow(&links, &[3, -5, 0, 9]), [&whole[..2], &whole[3..]].concat(), "an error ends it");
    }

    #[test]
    fn a_condition_is_one_value() {
        let links = [link(2, &[]), Link { only: Some((0, -11)), ..link(3, &[]) }];
        assert_eq!(follow(&links, &[-11, 0, 0]).len(), 2);
        assert_eq!(follow(&links, &[-12, 0, 0]).len(), 1);
        assert_eq!(follow(&links, &[0, 0, 0]).len(), 1);
    }
}
