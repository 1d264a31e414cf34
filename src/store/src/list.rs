//! Doubly linked lists through one vector of nodes, linked by 32-bit numbers. An entry or ghost is in one list at a
//! time, and its node says in which.

use alloc::vec::Vec;

use crate::prefetch;

/// No node.
pub(crate) const NONE: u32 = u32::MAX;

/// A policy's view of one entry or ghost: where it is linked and what it costs. Three bytes are free for counters of
/// later policies; one that needs more keeps a table of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    /// The neighbour towards the head, which is the side where nodes are added.
    towards_head: u32,
    towards_tail: u32,
    charge: u32,
    /// The tag of the list that holds it; meaningless while no list does.
    list: u8,
}

const _: () = assert!(size_of::<Node>() == 16, "limits::ENTRY_OVERHEAD_BYTES counts nodes of 16 bytes");

/// Nodes by number; the numbers are those of entries or ghosts.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    nodes: Vec<Node>,
}

impl Nodes {
    /// Adds a node behind the last number.
    pub(crate) fn grow(&mut self) {
        push_by_eighths(&mut self.nodes, Node { towards_head: NONE, towards_tail: NONE, charge: 0, list: 0 });
    }

    /// How many numbers there are.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// What the node costs.
    #[inline]
    pub(crate) fn charge(&self, node: u32) -> u32 {
        self.nodes[node as usize].charge
    }

    /// Says what a node costs that is in no list.
    pub(crate) fn set_charge(&mut self, node: u32, charge: u32) {
        self.nodes[node as usize].charge = charge;
    }

    /// The tag of the list that the node is in.
    #[inline]
    pub(crate) fn list(&self, node: u32) -> u8 {
        self.nodes[node as usize].list
    }

    /// Asks the processor for a node.
    #[inline]
    pub(crate) fn prefetch(&self, node: u32) {
        prefetch::ends(&self.nodes[node as usize]);
    }

    fn node(&mut self, node: u32) -> &mut Node {
        &mut self.nodes[node as usize]
    }
}

/// One list: new nodes at the head, old ones at the tail.
#[derive(Debug)]
pub(crate) struct List {
    tag: u8,
    head: u32,
    tail: u32,
    len: u32,
    charge: u64,
}

impl List {
    /// An empty list. The tag tells it from the others of its policy.
    pub(crate) fn new(tag: u8) -> Self {
        Self { tag, head: NONE, tail: NONE, len: 0, charge: 0 }
    }

    /// How many nodes it holds.
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// The sum of their charges.
    pub(crate) fn charge(&self) -> u64 {
        self.charge
    }

    /// The youngest node.
    pub(crate) fn head(&self) -> Option<u32> {
        (self.head != NONE).then_some(self.head)
    }

    /// The oldest node.
    pub(crate) fn tail(&self) -> Option<u32> {
        (self.tail != NONE).then_some(self.tail)
    }

    /// The oldest node but for one that is to stay, if it has any.
    pub(crate) fn oldest_but(&self, nodes: &Nodes, keep: u32) -> Option<u32> {
        let oldest =
            if self.tail == keep && keep != NONE { nodes.nodes[keep as usize].towards_head } else { self.tail };
        (oldest != NONE).then_some(oldest)
    }

    /// Adds a node that is in no list.
    pub(crate) fn push_head(&mut self, nodes: &mut Nodes, node: u32) {
        let old = self.head;
        let added = nodes.node(node);
        (added.towards_head, added.towards_tail, added.list) = (NONE, old, self.tag);
        self.charge += u64::from(added.charge);
        match old {
            NONE => self.tail = node,
            old => nodes.node(old).towards_head = node,
        }
        self.head = node;
        self.len += 1;
    }

    /// Takes a node of this list out of it.
    pub(crate) fn unlink(&mut self, nodes: &mut Nodes, node: u32) {
        let Node { towards_head, towards_tail, charge, list } = *nodes.node(node);
        debug_assert_eq!(list, self.tag, "node {node} is in another list");
        match towards_head {
            NONE => self.head = towards_tail,
            other => nodes.node(other).towards_tail = towards_tail,
        }
        match towards_tail {
            NONE => self.tail = towards_head,
            other => nodes.node(other).towards_head = towards_head,
        }
        self.charge -= u64::from(charge);
        self.len -= 1;
    }

    /// Makes a node of this list its youngest.
    pub(crate) fn move_to_head(&mut self, nodes: &mut Nodes, node: u32) {
        if self.head != node {
            self.unlink(nodes, node);
            self.push_head(nodes, node);
        }
    }

    /// Changes what a node of this list costs.
    pub(crate) fn recharge(&mut self, nodes: &mut Nodes, node: u32, charge: u32) {
        let old = core::mem::replace(&mut nodes.node(node).charge, charge);
        self.charge = self.charge - u64::from(old) + u64::from(charge);
    }

    /// The nodes from the youngest to the oldest; for `validate` and tests, where a broken link must not hang.
    pub(crate) fn iter<'n>(&self, nodes: &'n Nodes) -> impl Iterator<Item = u32> + use<'n> {
        let next = move |node: u32| Some(nodes.nodes[node as usize].towards_tail).filter(|&next| next != NONE);
        core::iter::successors(Some(self.head).filter(|&head| head != NONE), move |&node| next(node))
            .take(nodes.len() + 1)
    }

    /// Walks the list both ways and holds tags, number and charges against its own account.
    ///
    /// # Panics
    /// If anything is wrong.
    pub(crate) fn validate(&self, nodes: &Nodes) {
        let (mut len, mut charge, mut previous) = (0, 0, NONE);
        for number in self.iter(nodes) {
            let node = &nodes.nodes[number as usize];
            assert_eq!(node.towards_head, previous, "node {number} of list {} has a broken link", self.tag);
            assert_eq!(node.list, self.tag, "node {number} is tagged for another list");
            (len, charge, previous) = (len + 1, charge + u64::from(node.charge), number);
        }
        assert_eq!(self.tail, previous, "list {} does not end at its tail", self.tag);
        assert_eq!(self.len, len, "list {} has another length", self.tag);
        assert_eq!(self.charge, charge, "list {} has another charge", self.tag);
    }
}

/// Pushes, with room that grows by an eighth instead of doubling: what a vector holds back is at most that.
pub(crate) fn push_by_eighths<T>(vector: &mut Vec<T>, value: T) {
    if vector.len() == vector.capacity() {
        vector.reserve_exact(16.max(vector.len() / 8));
    }
    vector.push(value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    #[test]
    fn lists_behave_like_deques() {
        for seed in 0..20 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut nodes = Nodes::default();
            let mut lists = [List::new(0), List::new(1)];
            let mut model = [VecDeque::new(), VecDeque::new()];
            for step in 0..2000_u32 {
                let side = random.usize(0..2);
                let chosen = (!model[side].is_empty()).then(|| random.usize(0..model[side].len()));
                match (random.u8(0..5), chosen) {
                    (0, _) => {
                        nodes.grow();
                        let node = nodes.len() as u32 - 1;
                        nodes.set_charge(node, step % 100);
                        lists[side].push_head(&mut nodes, node);
                        model[side].push_front(node);
                    }
                    (1, Some(place)) => {
                        let node = model[side].remove(place).unwrap();
                        lists[side].unlink(&mut nodes, node);
                        lists[1 - side].push_head(&mut nodes, node);
                        model[1 - side].push_front(node);
                    }
                    (2, Some(place)) => {
                        let node = model[side].remove(place).unwrap();
                        lists[side].move_to_head(&mut nodes, node);
                        model[side].push_front(node);
                    }
                    (3, Some(place)) => lists[side].recharge(&mut nodes, model[side][place], step),
                    (_, Some(place)) => {
                        let keep = model[side][place];
                        let oldest = model[side].iter().rev().find(|&&node| node != keep).copied();
                        assert_eq!(lists[side].oldest_but(&nodes, keep), oldest, "seed {seed} step {step}");
                    }
                    _ => assert_eq!(lists[side].oldest_but(&nodes, NONE), None, "seed {seed} step {step}"),
                }
                for side in 0..2 {
                    lists[side].validate(&nodes);
                    assert!(lists[side].iter(&nodes).eq(model[side].iter().copied()), "seed {seed} step {step}");
                }
            }
        }
    }
}
