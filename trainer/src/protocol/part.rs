//! A part of a protocol: some arms, conditions and seeds. What is left out is planned no further, and the runs of the
//! part are those that the whole protocol has.

use std::path::Path;

use super::file::{Protocol, fault};
use crate::Result;

/// What of a protocol is made. An empty list is all that there are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Part {
    /// Names of arms, each for itself or several with commas between them.
    pub arms: Vec<String>,
    /// Names of conditions, likewise.
    pub conditions: Vec<String>,
    /// Seeds, likewise.
    pub seeds: Vec<String>,
}

/// How many arms, conditions and seeds the file of a protocol has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whole {
    /// Arms.
    pub arms: usize,
    /// Conditions.
    pub conditions: usize,
    /// Seeds.
    pub seeds: usize,
}

impl Protocol {
    /// The protocol of this part alone, in the order of the file.
    ///
    /// # Errors
    /// [`crate::Error::Protocol`] if there is no arm, condition or seed of a name, with those that there are.
    pub fn only(mut self, part: &Part) -> Result<Self> {
        let path = self.path.clone();
        keep(&path, "arm", &mut self.arms, &part.arms, |arm| arm.name.clone())?;
        keep(&path, "condition", &mut self.conditions, &part.conditions, |condition| condition.name.clone())?;
        keep(&path, "seed", &mut self.seeds, &part.seeds, u64::to_string)?;
        Ok(self)
    }

    /// How much of the file this is, for people; none where it is all.
    pub fn part(&self) -> Option<String> {
        let Whole { arms, conditions, seeds } = self.whole;
        let counts = [
            (self.arms.len(), arms, "arms"),
            (self.conditions.len(), conditions, "conditions"),
            (self.seeds.len(), seeds, "seeds"),
        ];
        let is_all = counts.iter().all(|(kept, all, _)| kept == all);
        let counts: Vec<String> = counts.iter().map(|(kept, all, what)| format!("{kept} of {all} {what}")).collect();
        (!is_all).then(|| counts.join(", "))
    }
}

/// Keeps the entries that are asked for.
fn keep<T>(path: &Path, what: &str, there: &mut Vec<T>, asked: &[String], name: impl Fn(&T) -> String) -> Result<()> {
    if asked.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = there.iter().map(&name).collect();
    let mut wanted = Vec::new();
    for value in asked {
        // A name may hold commas: as a whole it is itself.
        if names.contains(value) {
            wanted.push(value.as_str());
        } else {
            wanted.extend(value.split(',').map(str::trim));
        }
    }
    if let Some(unknown) = wanted.iter().find(|wanted| !names.iter().any(|name| name == *wanted)) {
        let names: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
        return Err(fault(path, format!("there is no {what} {unknown:?}, only {}", names.join(", "))));
    }
    there.retain(|entry| wanted.contains(&name(entry).as_str()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Plan;

    /// The protocol of VCR, or a part of it.
    fn vcr(arms: &[&str], conditions: &[&str], seeds: &[&str]) -> Result<Protocol> {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let part = Part { arms: list(arms), conditions: list(conditions), seeds: list(seeds) };
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("protocols/vcr.toml");
        Protocol::read(&path, &[])?.only(&part)
    }

    #[test]
    fn the_runs_of_a_part_are_those_of_the_whole() -> Result<()> {
        let whole = Plan::of(&vcr(&[], &[], &[])?)?;
        // The order is that of the file, whatever is asked for first.
        let protocol = vcr(&["mad, base", "base+mlm"], &["100 %,1 %"], &["3"])?;
        let names: Vec<&str> = protocol.arms.iter().map(|arm| arm.name.as_str()).collect();
        assert_eq!(names, ["base", "mad", "base+mlm"]);
        let part = Plan::of(&protocol)?;
        assert_eq!(part.runs.len(), 6);
        for run in &part.runs {
            assert!(whole.runs.iter().any(|other| (&other.folder, &other.recipe) == (&run.folder, &run.recipe)));
        }
        assert_eq!(protocol.part().as_deref(), Some("3 of 12 arms, 2 of 4 conditions, 1 of 3 seeds"));
        assert_eq!(vcr(&[], &[], &["1,2,3"])?.part(), None);
        let some = vcr(&["base"], &[], &[])?.part();
        assert_eq!(some.as_deref(), Some("1 of 12 arms, 4 of 4 conditions, 3 of 3 seeds"));
        // What is missing in the part is objected to.
        let alone = Plan::of(&vcr(&["mad"], &["1 %"], &[])?)?.warnings.join("\n");
        assert!(alone.contains("no arm is base") && alone.contains("compute-matched"), "{alone}");
        Ok(())
    }

    #[test]
    fn a_name_that_holds_a_comma_is_one_name() -> Result<()> {
        let mut there = vec!["kd", "kd, cosine", "cosine"];
        let asked = ["kd, cosine", "cosine"].map(str::to_owned);
        keep(Path::new("p.toml"), "arm", &mut there, &asked, |name| (*name).to_owned())?;
        assert_eq!(there, ["kd, cosine", "cosine"]);
        Ok(())
    }

    #[test]
    fn what_is_not_there_is_refused_with_what_is() {
        for (arms, conditions, seeds, says) in [
            (&["kdd"][..], &[][..], &[][..], "there is no arm \"kdd\", only \"base\", \"kd-v\", \"kd-t\", \"kd\""),
            (&["base,"], &[], &[], "there is no arm \"\""),
            (&[], &["2 %"], &[], "there is no condition \"2 %\", only \"1 %\", \"5 %\", \"10 %\", \"100 %\""),
            (&[], &[], &["1,4"], "there is no seed \"4\", only \"1\", \"2\", \"3\""),
        ] {
            let refusal = vcr(arms, conditions, seeds).map(|_| ()).map_err(|error| error.to_string());
            assert!(refusal.as_ref().is_err_and(|refusal| refusal.contains(says)), "{says}: {refusal:?}");
        }
    }
}
