#!/usr/bin/env bash
# Draws the mermaid diagram of each page in docs/ as docs/img/PAGE.svg, which the built site shows without network.
# Needs node and Chromium, and fetches mermaid-cli from npm's registry. Only whoever changes a diagram runs it.
set -euo pipefail
cd "$(dirname "$0")/.."
export PUPPETEER_SKIP_DOWNLOAD=1
work=$(mktemp -d)
echo "{\"executablePath\": \"${CHROMIUM:-/usr/bin/chromium}\", \"args\": [\"--no-sandbox\"]}" > "$work/puppeteer.json"
echo '{"htmlLabels": false, "flowchart": {"htmlLabels": false}, "theme": "neutral"}' > "$work/mermaid.json"
for page in $(grep -l '^```mermaid' docs/*.md); do
    name=$(basename "$page" .md)
    sed -n '/^```mermaid$/,/^```$/{/^```/d;p}' "$page" > "$work/$name.mmd"
    ${MMDC:-npx --yes @mermaid-js/mermaid-cli@11} --puppeteerConfigFile "$work/puppeteer.json" \
        --configFile "$work/mermaid.json" --input "$work/$name.mmd" --output "docs/img/$name.svg"
    echo "<!-- drawn from $(sha256sum < "$work/$name.mmd" | cut -d' ' -f1) -->" >> "docs/img/$name.svg"
done
