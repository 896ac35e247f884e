// Search in pages that are opened from a folder: browsers refuse to start a Worker from a file:// address, so this class
// runs the script of the worker in a hidden frame and passes messages between the two. Pages from a server are unaffected.
(() => {
  if (location.protocol !== "file:") return;

  class FrameWorker extends EventTarget {
    constructor(script) {
      super();
      this.onmessage = null;
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      this.ready = new Promise((resolve) => (this.frame.onload = resolve));
      this.frame.srcdoc = `<script>
        // what a worker has and a window lacks
        const postMessage = (data) => parent.postMessage({worker: window.name, data}, "*");
        const importScripts = (...sources) =>
          sources.reduce((before, source) => before.then(() => new Promise((resolve, reject) => {
            const element = document.createElement("script");
            element.src = source;
            element.onload = resolve;
            element.onerror = reject;
            document.head.append(element);
          })), Promise.resolve());
      </script><script src="${new URL(script, document.baseURI)}"></script>`;
      this.frame.name = `worker-${FrameWorker.count++}`;
      this.receive = ({ data }) => {
        if (!data || data.worker !== this.frame.name) return;
        const event = new MessageEvent("message", { data: data.data });
        this.onmessage?.(event);
        this.dispatchEvent(event);
      };
      addEventListener("message", this.receive);
      document.body.append(this.frame);
    }

    postMessage(data) {
      this.ready.then(() => this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data })));
    }

    terminate() {
      removeEventListener("message", this.receive);
      this.frame.remove();
    }
  }
  FrameWorker.count = 0;
  window.Worker = FrameWorker;
  window.IFrameWorker = FrameWorker; // by this name the search of Material resolves its other scripts
})();
