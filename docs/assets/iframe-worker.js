/* A page that was opened from a folder (file:) may not start a worker. Search then runs its script in a hidden frame. */
if (location.protocol === "file:") {
  window.IFrameWorker = class extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.append(this.frame);
      const scope = this.frame.contentWindow;
      scope.postMessage = data => this.dispatchEvent(new MessageEvent("message", { data }));
      scope.importScripts = (...urls) => urls.reduce((before, one) => before.then(() => load(scope, one)), Promise.resolve());
      this.loaded = load(scope, url);
    }
    postMessage(data) {
      const scope = this.frame.contentWindow;
      this.loaded.then(() => scope.dispatchEvent(new scope.MessageEvent("message", { data })));
    }
    terminate() {
      this.frame.remove();
    }
  };
  window.Worker = window.IFrameWorker;

  function load(scope, url) {
    return new Promise((done, failed) => {
      const script = scope.document.createElement("script");
      script.src = url;
      script.onload = done;
      script.onerror = failed;
      scope.document.body.append(script);
    });
  }
}
