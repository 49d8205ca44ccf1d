//! The reference page: the OpenAPI document as HTML, rendered here, without scripts.

use std::fmt::Write as _;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{error::Code, openapi};

const STYLE: &str = include_str!("reference/style.css");

/// Allows this page's own style and nothing else.
pub(crate) fn content_security_policy() -> String {
    let hash = BASE64_STANDARD.encode(Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

/// The whole page.
pub(crate) fn page(document: &Value) -> String {
    let mut page = Page { document, html: String::new() };
    page.whole();
    page.html
}

struct Page<'a> {
    document: &'a Value,
    html: String,
}

/// An operation with its place in the document.
struct Operation<'a> {
    method: String,
    path: &'a str,
    value: &'a Value,
}

impl<'a> Page<'a> {
    fn add(&mut self, html: &str) {
        self.html.push_str(html);
    }

    fn whole(&mut self) {
        let document = self.document;
        let title = escape(text(&document["info"]["title"]));
        let version = escape(text(&document["info"]["version"]));
        self.add(&format!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\"><title>{title} {version}: HTTP API</title>\
             <style>{STYLE}</style></head><body><nav><p><a href=\"#top\"><b>{title}</b> {version}</a></p>"
        ));
        let tags: Vec<&Value> = document["tags"].as_array().into_iter().flatten().collect();
        for tag in &tags {
            self.navigation(text(&tag["name"]));
        }
        self.add("<p><a href=\"#errors\">Errors</a></p><p><a href=\"#limits\">Limits</a></p></nav><main id=\"top\">");
        let intro = prose(text(&document["info"]["description"]));
        self.add(&format!(
            "<h1>{title}: HTTP API</h1>{intro}<p>For programs: <a href=\"/openapi.json\">openapi.json</a>.</p>\
             <p>The examples take the address and a token from your shell:</p>\
             <pre>export MAINSTAY_URL=http://127.0.0.1:7070\nexport MAINSTAY_TOKEN=the-token-of-the-first-start</pre>"
        ));
        for tag in &tags {
            self.section(tag);
        }
        self.errors();
        self.add("<h2 id=\"limits\">Limits</h2><table>");
        for (what, limit) in openapi::limits() {
            self.add(&format!("<tr><th>{what}<td>{}", escape(&limit)));
        }
        self.add("</table></main></body></html>");
    }

    fn operations(&self, tag: &str) -> Vec<Operation<'a>> {
        let document = self.document;
        let mut found = Vec::new();
        for (path, item) in document["paths"].as_object().into_iter().flatten() {
            for (method, value) in item.as_object().into_iter().flatten() {
                if value["tags"][0] == tag {
                    found.push(Operation { method: method.to_uppercase(), path, value });
                }
            }
        }
        found
    }

    fn navigation(&mut self, tag: &str) {
        self.add(&format!("<b>{}</b><ul>", escape(tag)));
        for operation in self.operations(tag) {
            let id = escape(text(&operation.value["operationId"]));
            self.add(&format!("<li><a href=\"#{id}\">{}</a>", escape(text(&operation.value["summary"]))));
        }
        self.add("</ul>");
    }

    fn section(&mut self, tag: &Value) {
        let name = text(&tag["name"]);
        let intro = prose(text(&tag["description"]));
        self.add(&format!("<h2 id=\"{0}\">{0}</h2>{intro}", escape(name)));
        for operation in self.operations(name) {
            self.operation(&operation);
        }
    }

    fn operation(&mut self, operation: &Operation<'_>) {
        let value = operation.value;
        let id = escape(text(&value["operationId"]));
        let (method, path) = (&operation.method, escape(operation.path));
        self.add(&format!(
            "<h3 id=\"{id}\"><a href=\"#{id}\"><span class=\"method\">{method}</span><code>{path}</code></a></h3>"
        ));
        self.add(&prose(text(&value["summary"])));
        self.add(&prose(text(&value["description"])));
        let needs_token = value["security"].as_array().is_some_and(|schemes| !schemes.is_empty());
        match (needs_token, value["x-scope"].as_str()) {
            (true, Some(scope)) => {
                self.add(&format!("<p class=\"dim\">Scope: <code>{}</code></p>", escape(scope)));
            }
            (true, None) => self.add("<p class=\"dim\">Any token.</p>"),
            (false, _) => self.add("<p class=\"dim\">No token needed.</p>"),
        }
        self.parameters(value);
        for (media, content) in value["requestBody"]["content"].as_object().into_iter().flatten() {
            self.add(&format!("<h4>Body: {}</h4>", escape(media)));
            self.fields(&content["schema"]);
        }
        self.add(&format!("<h4>Try it</h4><pre>{}</pre>", escape(&self.curl(operation, needs_token))));
        self.answers(value);
    }

    fn parameters(&mut self, operation: &Value) {
        let parameters: Vec<&Value> = operation["parameters"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|value| resolve(self.document, value))
            .collect();
        if parameters.is_empty() {
            return;
        }
        self.add("<h4>Parameters</h4><table>");
        for parameter in parameters {
            let (name, place) = (escape(text(&parameter["name"])), escape(text(&parameter["in"])));
            let kind = self.kind(&parameter["schema"]);
            let meaning = inline(text(&parameter["description"]));
            self.add(&format!(
                "<tr><td><code>{name}</code> <span class=\"dim\">{place}</span><td>{kind}<td>{meaning}"
            ));
        }
        self.add("</table>");
    }

    /// A table of an object's fields.
    fn fields(&mut self, schema: &Value) {
        let schema = resolve(self.document, schema);
        for choice in schema["oneOf"].as_array().into_iter().flatten() {
            self.fields(choice);
        }
        let Some(properties) = schema["properties"].as_object() else { return };
        self.add("<table>");
        for (name, property) in properties {
            let is_required =
                schema["required"].as_array().is_some_and(|names| names.iter().any(|known| known == name));
            let needed = if is_required { " <span class=\"dim\">required</span>" } else { "" };
            let kind = self.kind(property);
            // Of a value that may be null, the description stands at the other choice.
            let meaning = property["description"].as_str().or(property["oneOf"][0]["description"].as_str());
            let meaning = inline(meaning.unwrap_or_default());
            self.add(&format!("<tr><td><code>{}</code>{needed}<td>{kind}<td>{meaning}", escape(name)));
        }
        self.add("</table>");
    }

    fn answers(&mut self, operation: &Value) {
        self.add("<h4>Answers</h4><table>");
        for (status, response) in operation["responses"].as_object().into_iter().flatten() {
            let response = resolve(self.document, response);
            let meaning = inline(text(&response["description"]));
            self.add(&format!("<tr><td>{}<td>{meaning}", escape(status)));
            if status.starts_with('2') {
                for content in response["content"].as_object().into_iter().flat_map(|map| map.values()) {
                    self.fields(&content["schema"]);
                }
            }
        }
        self.add("</table>");
    }

    fn errors(&mut self) {
        self.add(
            "<h2 id=\"errors\">Errors</h2><p>Every error is <code>application/problem+json</code> with \
             <code>type</code>, <code>title</code>, <code>status</code>, <code>code</code>, <code>detail</code>, \
             <code>request_id</code>, and <code>field</code> where a value is at fault.</p><table>",
        );
        for code in Code::ALL {
            let (status, code, title) = code.describe();
            let status = status.as_u16();
            self.add(&format!("<tr id=\"{code}\"><td><code>{code}</code><td>{status}<td>{}", escape(title)));
        }
        self.add("</table>");
    }

    /// What a value may be, in a few words.
    fn kind(&self, schema: &Value) -> String {
        let schema = resolve(self.document, schema);
        if let Some(choices) = schema["oneOf"].as_array().or(schema["anyOf"].as_array()) {
            let kinds: Vec<String> = choices.iter().map(|choice| self.kind(choice)).collect();
            return kinds.join(" or ");
        }
        let mut words = match &schema["type"] {
            Value::String(kind) => kind.clone(),
            Value::Array(kinds) => kinds.iter().map(text).collect::<Vec<_>>().join(" or "),
            _ => "any value".into(),
        };
        if let Some(format) = schema["format"].as_str() {
            let _ = write!(words, " ({format})");
        }
        if let Some(values) = schema["enum"].as_array() {
            words = values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        }
        if !schema["items"].is_null() {
            let _ = write!(words, " of {}", self.kind(&schema["items"]));
        }
        for (key, word) in [("minimum", "from"), ("maximum", "to"), ("default", "default")] {
            if !schema[key].is_null() {
                let _ = write!(words, " {word} {}", schema[key]);
            }
        }
        if let Some(pattern) = schema["pattern"].as_str() {
            let _ = write!(words, " {pattern}");
        }
        escape(&words)
    }

    fn curl(&self, operation: &Operation<'_>, needs_token: bool) -> String {
        let mut path = operation.path.to_owned();
        for parameter in operation.value["parameters"].as_array().into_iter().flatten() {
            let parameter = resolve(self.document, parameter);
            if parameter["in"] == "path" {
                let name = text(&parameter["name"]);
                let example = self.example(&parameter["schema"], name);
                path = path.replace(&format!("{{{name}}}"), example.as_str().unwrap_or(name));
            }
        }
        let mut curl = String::from("curl -sS");
        if operation.method != "GET" {
            let _ = write!(curl, " -X {}", operation.method);
        }
        let _ = write!(curl, " \"$MAINSTAY_URL{path}\"");
        if needs_token {
            curl.push_str(" \\\n  -H \"Authorization: Bearer $MAINSTAY_TOKEN\"");
        }
        for (media, content) in operation.value["requestBody"]["content"].as_object().into_iter().flatten() {
            let (media, body) = match media.as_str() {
                "application/json" => (media.as_str(), self.example(&content["schema"], "").to_string()),
                _ => ("text/plain", "hello".to_owned()),
            };
            let _ = write!(curl, " \\\n  -H 'Content-Type: {media}' -d '{body}'");
        }
        curl
    }

    /// A value that the schema takes, with the required fields only.
    fn example(&self, schema: &Value, name: &str) -> Value {
        let schema = resolve(self.document, schema);
        let given = [&schema["example"], &schema["examples"][0], &schema["enum"][0], &schema["default"]];
        if let Some(given) = given.into_iter().find(|value| !value.is_null()) {
            return given.clone();
        }
        if let Some(first) =
            schema["oneOf"].as_array().and_then(|choices| choices.iter().find(|c| c["type"] != "null"))
        {
            return self.example(first, name);
        }
        match schema["type"].as_str().or(schema["type"][0].as_str()) {
            Some("object") => {
                let required = schema["required"].as_array().into_iter().flatten().map(text);
                required
                    .map(|name| (name.to_owned(), self.example(&schema["properties"][name], name)))
                    .collect()
            }
            Some("array") => vec![self.example(&schema["items"], name)].into(),
            Some("integer") => schema.get("minimum").cloned().unwrap_or(1.into()),
            Some("boolean") => true.into(),
            _ if schema["format"] == "uuid" => "01920000-0000-7000-8000-000000000000".into(),
            _ if schema["pattern"].as_str().is_some_and(|pattern| pattern.starts_with("^(admin")) => {
                "sessions:read".into()
            }
            _ => match name {
                "user" => "alice",
                "ns" => "profiles",
                "key" => "user:1",
                "name" => "backend",
                "token" => "the-token",
                _ => "text",
            }
            .into(),
        }
    }
}

/// What a reference refers to; any other value as it is.
fn resolve<'v>(document: &'v Value, value: &'v Value) -> &'v Value {
    let target = value["$ref"].as_str().and_then(|target| target.strip_prefix('#'));
    target.and_then(|pointer| document.pointer(pointer)).unwrap_or(value)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn escape(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            c => html.push(c),
        }
    }
    html
}

/// Text with `code` in it.
fn inline(text: &str) -> String {
    let mut html = String::new();
    for (at, part) in escape(text).split('`').enumerate() {
        if at % 2 == 1 {
            let _ = write!(html, "<code>{part}</code>");
        } else {
            html.push_str(part);
        }
    }
    html
}

fn prose(text: &str) -> String {
    text.split("\n\n")
        .filter(|part| !part.is_empty())
        .map(|part| format!("<p>{}</p>", inline(part)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_the_document_cannot_become_markup() {
        assert_eq!(escape("<b a='x'>&"), "&lt;b a=&#39;x&#39;&gt;&amp;");
        assert_eq!(inline("see `a<b`"), "see <code>a&lt;b</code>");
    }

    #[test]
    fn every_route_is_on_the_page_with_an_anchor_and_a_curl() {
        let page = page(&openapi::DOCUMENT);
        for route in crate::app::infos() {
            assert!(page.contains(&format!("<code>{}</code>", route.path)), "{}", route.path);
        }
        assert_eq!(page.matches("Try it").count(), crate::app::infos().len());
        for code in Code::ALL {
            assert!(page.contains(&format!("<tr id=\"{}\">", code.describe().1)));
        }
        assert!(!page.contains("<script"));
    }
}
