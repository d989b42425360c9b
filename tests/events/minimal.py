"""The least of a bridge.yaml that may have subscribers."""

BRIDGE = """\
public_url: http://127.0.0.1:8080
digital_channels: {base_url: http://127.0.0.1/nexus/v3, contact_center_id: 0ff723ff-6c6f-44e0-9ce3-ce579337eadd}
endpoints: {main: {secrets: [the-app-secret-of-now]}}
interactions: {main: {secrets: [the-app-secret-of-now]}}
providers: {twilio: {kind: twilio, account_sid: AC0123456789abcdef0123456789abcdef, auth_token: 0123456789abcdef}}
channels: {"0123456789": {type: sms, provider: twilio}}
"""
