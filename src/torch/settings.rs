//! `--set NAME.KEY=VALUE` of `retort teach`.

use anyhow::{Context, Result, bail};
use retort_teachers::Overrides;
use retort_teachers::nn::nearest;

use retort::cli::Teach;

/// What was said of each teacher, in their order.
pub fn overrides(options: &Teach) -> Result<Vec<Overrides>> {
    let mut said = vec![Overrides::default(); options.teachers.len()];
    for setting in &options.settings {
        let names = || options.teachers.iter().map(|teacher| teacher.name.as_str());
        let named: Vec<usize> = (0..said.len()).filter(|at| options.teachers[*at].name == setting.teacher).collect();
        if named.is_empty() {
            let near = nearest(&setting.teacher, names());
            let near = near.map_or_else(String::new, |near| format!("; did you mean {near:?}?"));
            let names = names().collect::<Vec<_>>().join(", ");
            bail!("--set {}: no teacher of this call has that name: expected one of {names}{near}", setting.teacher);
        }
        for at in named {
            let set = said[at].set(&setting.key, &setting.value);
            set.with_context(|| format!("--set for teacher {}", setting.teacher))?;
        }
    }
    Ok(said)
}
