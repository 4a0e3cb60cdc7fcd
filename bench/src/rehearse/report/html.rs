//! The page around what is told, and what is written the same way everywhere.

use std::fmt::Write as _;

use crate::chart::grouped;

/// Light, plain, readable on a phone; nothing is told by colour alone.
const STYLE: &str = "\
:root{color-scheme:light}*{box-sizing:border-box}\
body{margin:0;font:16px/1.5 system-ui,sans-serif;color:#1b1f24;background:#f4f5f7}\
main{max-width:1040px;margin:0 auto;padding:24px 16px 64px}\
h1{font-size:1.7rem;line-height:1.25;margin:0 0 16px}h2{font-size:1.25rem;margin:0 0 12px}\
h3{font-size:1rem;margin:20px 0 6px}\
section,.top{background:#fff;border:1px solid #dfe2e7;border-radius:10px;padding:20px;margin:0 0 20px}\
.top{border-left:8px solid #1a6b35}.top.broken{border-left-color:#a3202b}\
dl{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin:0}\
dl div{background:#f4f5f7;border-radius:8px;padding:10px 12px}dt{font-size:.85rem;color:#4a525c}\
dd{margin:0;font-size:1.15rem;font-weight:600}\
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.95rem}\
caption{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}\
th,td{text-align:left;padding:6px 10px;border-bottom:1px solid #e6e8ec;vertical-align:top;font-weight:400}\
thead th{font-weight:600;color:#4a525c;white-space:nowrap}.n{text-align:right;font-variant-numeric:tabular-nums}\
td.n{white-space:nowrap}\
.ok,.bad{display:inline-block;min-width:76px;text-align:center;padding:1px 8px;border-radius:6px;font-weight:600;\
font-size:.85rem;white-space:nowrap}.ok{background:#dff2e3;color:#14532a}.bad{background:#a3202b;color:#fff}\
.quiet{color:#4a525c;font-size:.85rem}ul{margin:6px 0 0;padding-left:20px;font-size:.9rem}\
.note{background:#fff6dc;border:1px solid #e6d9a8;border-radius:8px;padding:8px 12px;margin:0 0 20px}\
figure{margin:0 0 24px;overflow-x:auto}figcaption{font-weight:600;margin-bottom:4px;position:sticky;left:0}\
figure svg{display:block;width:100%;min-width:620px;height:auto}\
pre{overflow-x:auto;background:#f4f5f7;border-radius:8px;padding:12px;font-size:.85rem}\
summary{cursor:pointer;font-weight:600}@media(max-width:480px){section,.top{padding:14px}h1{font-size:1.35rem}}";

/// A page that grows.
#[derive(Debug)]
pub struct Page(String);

impl Page {
    /// With a heading, and nothing else yet.
    pub fn new(title: &str) -> Self {
        let title = escaped(title);
        Self(format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta http-equiv=\"content-security-policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
             <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n"
        ))
    }

    /// The figures that come first.
    pub fn head(&mut self, held: bool, facts: &[(&str, String)]) {
        let class = if held { "top" } else { "top broken" };
        let _ = write!(self.0, "<div class=\"{class}\"><dl>");
        for (what, value) in facts {
            let _ = write!(self.0, "<div><dt>{}</dt><dd>{}</dd></div>", escaped(what), escaped(value));
        }
        self.0.push_str("</dl></div>\n");
    }

    /// Something that whoever reads on must know.
    pub fn note(&mut self, text: &str) {
        let _ = writeln!(self.0, "<p class=\"note\">{}</p>", escaped(text));
    }

    /// A section; `body` is HTML.
    pub fn section(&mut self, heading: &str, body: &str) {
        let _ = writeln!(self.0, "<section>\n<h2>{}</h2>\n{body}\n</section>", escaped(heading));
    }

    /// The end.
    pub fn done(mut self) -> String {
        self.0.push_str("</main>\n</body>\n</html>\n");
        self.0
    }
}

/// A table with headings; `rows` is HTML. A heading that begins with `#` is of numbers. The caption is for whoever
/// cannot see it.
pub fn table(caption: &str, headings: &[&str], rows: &str) -> String {
    let mut text = format!("<div class=\"scroll\"><table><caption>{}</caption><thead><tr>", escaped(caption));
    for heading in headings {
        let (heading, class) = heading.strip_prefix('#').map_or((*heading, ""), |heading| (heading, " class=\"n\""));
        let _ = write!(text, "<th scope=\"col\"{class}>{}</th>", escaped(heading));
    }
    let _ = write!(text, "</tr></thead><tbody>{rows}</tbody></table></div>");
    text
}

/// A word for good or bad.
pub fn state(good: bool, yes: &str, no: &str) -> String {
    let (class, word) = if good { ("ok", yes) } else { ("bad", no) };
    format!("<span class=\"{class}\">{word}</span>")
}

/// A plot under its heading; `alt` says what is to be seen.
pub fn figure(heading: &str, alt: &str, svg: &str) -> String {
    let described = format!("<svg role=\"img\" aria-label=\"{}\" ", escaped(alt));
    let svg = svg.trim().replacen("<svg ", &described, 1);
    format!("<figure tabindex=\"0\"><figcaption>{}</figcaption>{svg}</figure>\n", escaped(heading))
}

/// As text or within quotes.
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            letter => safe.push(letter),
        }
    }
    safe
}

/// With its thousands apart.
pub fn number(value: u64) -> String {
    grouped(value as f64)
}

/// Milliseconds as seconds.
pub fn seconds(ms: u64) -> String {
    format!("{:.1} s", ms as f64 / 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_gets_out_of_its_place() {
        assert_eq!(escaped("<a href='x'>&\"é"), "&lt;a href=&#39;x&#39;&gt;&amp;&quot;é");
        let mut page = Page::new("<b>");
        page.section("</section>", "<p>x</p>");
        page.note("</p><script>");
        let text = page.done();
        assert!(!text.contains("<b>") && !text.contains("</section></") && !text.contains("<script>"), "{text}");
        assert!(figure("a", "b \" onload=\"", "<svg width=\"1\"></svg>").contains("b &quot; onload=&quot;"));
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!((number(1_234_567).as_str(), seconds(12_340).as_str()), ("1,234,567", "12.3 s"));
        assert!(state(false, "yes", "NO").contains("NO"));
        assert!(table("c", &["a", "#b"], "").contains("<th scope=\"col\" class=\"n\">b"));
    }
}
