"""A suite as it was for pytest-kind: nothing in it has changed. Needs: pip install pykube-ng, and the image app:1 in the Engine."""

from pathlib import Path

import requests
from pykube import Pod

HERE = Path(__file__).parent


def test_app(kind_cluster):
    kind_cluster.load_docker_image("app:1")
    kind_cluster.kubectl("apply", "-f", "deployment.yaml", cwd=HERE)
    kind_cluster.kubectl("rollout", "status", "deployment/app")

    for pod in Pod.objects(kind_cluster.api).filter(selector="app=app"):
        assert "started" in pod.logs()
    with kind_cluster.port_forward("service/app", 80) as port:
        response = requests.get(f"http://localhost:{port}/", timeout=10)
        assert response.text == "Hello\n"
