"""Answers, calls by text, statistics, a phone line and a trigger for `dcbridge dev`, as bridge.yaml has them."""

from __future__ import annotations

HOURS, ADDRESS = "We are here from 8 to 18, Monday to Friday.", "Harbour Street 12, Springfield"
BUSY = "We answer as soon as we can."
MISSED = "Sorry that we missed your call. Answer this text, and an agent will help you."
DISPOSED = "Thank you for your call. How did we do? Answer 1 to 5."
ANSWERS = f"""\
    answers:
      - {{when: [hours], say: "{HOURS}"}}
      - {{when: [address], match: first_word, say: "{ADDRESS}", then: stop}}
      - {{when: [call me], book: {{service: Sales}}, then: stop}}
      - {{when: [wait], say: "About {{wait:sales-wait}} at the moment.", else: "{BUSY}", then: stop}}
    own_messages: {{a_day: 100}}
    on_failed: {{book: {{service: Sales}}}}
"""
GENESYS = f"""
genesys:
  base_url: http://127.0.0.1:{{page}}
  api_key: file:genesys_api_key
  engagement: {{{{}}}}
  auth: {{{{grant: client_credentials, client_id: dcbridge, client_secret: "file:genesys_client_secret"}}}}
  statistics:
    watch:
      sales-wait:
        name: AverageWaitingTime
        object: {{{{type: Queue, id: VQ_Sales}}}}
        crossed: {{{{above: 1800, back_below: 1200}}}}
  text_back:
    base_url: http://127.0.0.1:{{page}}/api/v2
    username: text-back
    password: file:genesys_line_password
    channel: "0123456789"
    missed: "{MISSED}"
    dispositions:
      IssueResolved: "{DISPOSED}"
"""
TRIGGERS = """
triggers:
  textback:
    channel: "0123456789"
    text: "{name}, you called us. We call back at {at}."
    secrets:
      - file:trigger_secret
"""
