//! Templates: a text with `{{name}}` in it. A name without a value and a value without a place are errors.

use anyhow::{Result, bail};

/// Puts the values into the template.
pub(super) fn fill(template: &str, values: &[(&str, &str)]) -> Result<String> {
    let mut out = String::with_capacity(template.len());
    let mut used = vec![false; values.len()];
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        out.push_str(before);
        let Some((name, tail)) = after.split_once("}}") else {
            bail!("a {{{{ without }}}} in a template")
        };
        let Some(index) = values.iter().position(|(known, _)| *known == name) else {
            bail!("the template wants {name:?}, which has no value");
        };
        if let (Some((_, value)), Some(mark)) = (values.get(index), used.get_mut(index)) {
            out.push_str(value);
            *mark = true;
        }
        rest = tail;
    }
    out.push_str(rest);
    if let Some(((name, _), _)) = values.iter().zip(&used).find(|(_, used)| !**used) {
        bail!("the template has no place for {name:?}");
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_filled_and_every_value_used() {
        let values = [("a", "1"), ("b", "2")];
        assert_eq!(
            fill("x {{a}} y {{b}}{{a}} {z}", &values).unwrap(),
            "x 1 y 21 {z}"
        );
        assert!(fill("{{c}}", &[]).is_err());
        assert!(fill("{{a}}", &values).is_err());
        assert!(fill("{{a", &values).is_err());
    }
}
