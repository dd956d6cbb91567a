//! A page as it is written: its sections, their list, and what they lack.

use crate::load::Run;
use crate::pictures::Gallery;
use crate::text::{escape, with_code};

/// A finished page.
pub(crate) struct Page {
    pub(crate) html: String,
    /// Samples shown with their image.
    pub(crate) images: usize,
    /// Sentences about what is missing, without markup.
    pub(crate) missing: Vec<String>,
}

/// Sections as they are written, and what they lack.
#[derive(Default)]
pub(crate) struct Writer {
    pub(crate) html: String,
    pub(crate) missing: Vec<String>,
    /// The images that sections show.
    pub(crate) gallery: Gallery,
    /// Titles of the sections, in order.
    titles: Vec<String>,
    /// Where the list of them goes.
    contents: Option<usize>,
    /// Whether the last section is one that folds.
    folds: bool,
}

/// How far a page was written.
pub(crate) struct Mark {
    html: usize,
    missing: usize,
    titles: usize,
    folds: bool,
}

impl Writer {
    /// Starts a section.
    pub(crate) fn section(&mut self, title: &str, words: &str) {
        let heading = self.heading(title);
        self.html += &format!("{heading}<p>{}</p>", escape(words));
    }

    /// Starts a section that a reader unfolds.
    pub(crate) fn folded(&mut self, title: &str, words: &str) {
        let heading = self.heading(title);
        self.html += &format!("<details class=\"fold\"><summary>{heading}</summary><p>{}</p>", escape(words));
        self.folds = true;
    }

    /// Ends the section before, and gives the heading of the next.
    fn heading(&mut self, title: &str) -> String {
        self.end_fold();
        self.titles.push(title.to_owned());
        format!("<h2 id=\"s{}\">{}</h2>", self.titles.len(), escape(title))
    }

    fn end_fold(&mut self) {
        if std::mem::take(&mut self.folds) {
            self.html += "</details>";
        }
    }

    /// The list of sections stands here.
    pub(crate) fn contents(&mut self) {
        self.contents = Some(self.html.len());
    }

    /// Says that something is missing. What stands between backticks is code.
    pub(crate) fn miss(&mut self, sentence: String) {
        self.html += &format!("<p class=\"note\">{}</p>", with_code(&sentence));
        self.missing.push(sentence);
    }

    /// Where the page is now.
    pub(crate) fn mark(&self) -> Mark {
        Mark { html: self.html.len(), missing: self.missing.len(), titles: self.titles.len(), folds: self.folds }
    }

    /// Takes back what was written since.
    pub(crate) fn back_to(&mut self, mark: &Mark) {
        self.html.truncate(mark.html);
        self.missing.truncate(mark.missing);
        self.titles.truncate(mark.titles);
        self.folds = mark.folds;
    }

    /// Puts the list of sections in its place.
    fn list_sections(&mut self) {
        let Some(at) = self.contents.filter(|_| self.titles.len() > 1) else { return };
        let item = |(at, title): (usize, &String)| format!("<li><a href=\"#s{at}\">{}</a></li>", escape(title));
        let items: String = (1..).zip(&self.titles).map(item).collect();
        self.html.insert_str(at, &format!("<nav class=\"contents\" aria-label=\"Contents\"><ul>{items}</ul></nav>"));
    }

    /// The page of all sections.
    pub(crate) fn finish(mut self, title: &str, images: usize) -> Page {
        self.end_fold();
        self.list_sections();
        self.html += &self.gallery.html();
        let html = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{}</title>\n\
             <style>\n{}</style>\n</head>\n<body>\n<main>\n{}\
             <footer>Written by retort from the files that it shows; the same files give the same page.</footer>\n\
             </main>\n</body>\n</html>\n",
            escape(title),
            include_str!("style.css"),
            self.html
        );
        Page { html, images, missing: self.missing }
    }

    /// Says once for several runs what they lack.
    pub(crate) fn miss_runs(&mut self, runs: &[&Run], what: &str) {
        if !runs.is_empty() {
            let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
            let verb = if runs.len() == 1 { "has" } else { "have" };
            self.miss(format!("{} {verb} {what}.", names.join(", ")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_listed_and_folds_end() {
        let mut page = Writer::default();
        page.html += "<h1>t</h1>";
        page.contents();
        page.section("A & b", "x");
        page.folded("C", "y");
        page.folded("D", "z");
        let mark = page.mark();
        page.section("E", "");
        page.miss("lost".to_owned());
        page.back_to(&mark);
        page.miss("run `retort <x>` again, or `".to_owned());
        let page = page.finish("t", 0);
        let body = page.html.split_once("<main>\n").unwrap().1.split_once("<footer>").unwrap().0;
        assert_eq!(
            body,
            "<h1>t</h1><nav class=\"contents\" aria-label=\"Contents\"><ul><li><a href=\"#s1\">A &amp; b</a></li>\
             <li><a href=\"#s2\">C</a></li><li><a href=\"#s3\">D</a></li></ul></nav><h2 id=\"s1\">A &amp; b</h2><p>x</p>\
             <details class=\"fold\"><summary><h2 id=\"s2\">C</h2></summary><p>y</p></details>\
             <details class=\"fold\"><summary><h2 id=\"s3\">D</h2></summary><p>z</p>\
             <p class=\"note\">run <code>retort &lt;x&gt;</code> again, or `</p></details>"
        );
        assert_eq!(page.missing, ["run `retort <x>` again, or `"]);
    }
}
