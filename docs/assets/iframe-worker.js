// Lets the search work where the site is read from files, without a server: browsers start no
// workers there. The worker's script runs in a hidden frame instead.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      this.waiting = []
      this.frame = document.createElement("iframe")
      this.frame.hidden = true
      this.frame.worker = this
      this.frame.srcdoc =
        "<script>self.postMessage = data => frameElement.worker.deliver(data)</" + "script>" +
        `<script src="${url}"></` + "script>"
      this.frame.addEventListener("load", () => {
        const waiting = this.waiting
        this.waiting = null
        waiting.forEach(data => this.postMessage(data))
      })
      document.body.append(this.frame)
    }

    // From the page to the worker.
    postMessage(data) {
      if (this.waiting) this.waiting.push(data)
      else this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data }))
    }

    // From the worker to the page.
    deliver(data) {
      const event = new MessageEvent("message", { data })
      this.dispatchEvent(event)
      if (this.onmessage) this.onmessage(event)
    }

    terminate() {
      this.frame.remove()
    }
  }
}
