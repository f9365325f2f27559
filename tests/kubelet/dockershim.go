// The dockershim of Kubernetes 1.20 as a server of its own, with those flags that kubelet 1.8.4 to 1.18 heeded when it
// was started as `kubelet --experimental-dockershim`: a stand-in for such a kubelet.
package main

import (
	"flag"
	"net"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/kubelet/apis/config"
	"k8s.io/kubernetes/pkg/kubelet/cri/streaming"
	"k8s.io/kubernetes/pkg/kubelet/dockershim"
	"k8s.io/kubernetes/pkg/kubelet/dockershim/remote"
)

const socket = "unix:///var/run/dockershim.sock"

func main() {
	klog.InitFlags(nil)
	_ = flag.Bool("experimental-dockershim", true, "")
	port := flag.Int("port", 10250, "of the streaming server: exec, attach, port-forward")
	address := flag.String("address", "0.0.0.0", "of the streaming server")
	docker := flag.String("docker-endpoint", "unix:///var/run/docker.sock", "")
	pause := flag.String("pod-infra-container-image", "k8s.gcr.io/pause:3.2", "")
	root := flag.String("experimental-dockershim-root-directory", "/var/lib/dockershim", "")
	plugin := flag.String("network-plugin", "", "cni, kubenet or none")
	configurations := flag.String("cni-conf-dir", "/etc/cni/net.d", "")
	plugins := flag.String("cni-bin-dir", "/opt/cni/bin", "")
	driver := flag.String("cgroup-driver", "cgroupfs", "")
	flag.Parse()

	streams := streaming.DefaultConfig
	streams.Addr = net.JoinHostPort(*address, strconv.Itoa(*port))
	// A path alone is what kubelet up to 1.10 gave: whoever asks has to know where this server is.
	streams.BaseURL = &url.URL{Path: "/cri/"}
	service, err := dockershim.NewDockerService(
		&dockershim.ClientConfig{
			DockerEndpoint: *docker, RuntimeRequestTimeout: 2 * time.Minute, ImagePullProgressDeadline: time.Minute,
		},
		*pause, &streams,
		&dockershim.NetworkPluginSettings{
			HairpinMode: config.HairpinNone, PluginName: *plugin, PluginConfDir: *configurations,
			PluginBinDirString: strings.TrimSpace(*plugins), PluginCacheDir: "/var/lib/cni/cache",
		},
		"", *driver, *root)
	exitIf(err)
	exitIf(remote.NewDockerServer(socket, service).Start())
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, syscall.SIGINT)
	<-ended
}

func exitIf(err error) {
	if err != nil {
		klog.Fatal(err)
	}
}
